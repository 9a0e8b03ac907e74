//! RL.ACQUIRE: takes units from every limit of a key, or from none.

use super::arguments::{Walk, cost, unexpected};
use crate::core::limits::{Limit, Request, Standing, State, Taken, Wait, decide};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::{Together, commit};
use crate::limiter::reply::{Index, Six};
use crate::limiter::resolve::{Resolved, refuse_concurrent, resolve, usage};
use crate::limiter::track;
use crate::observe::labels::Labelled;
use crate::observe::{metrics, top};
use crate::queue;
use crate::queue::{Ask, Met};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::Change;
use crate::types::intern::{self, LimitsRef};
use crate::types::ratelimit::{Block, RateLimit};

/// What the caller asks for.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    key: Arg<'a>,
    limits: Option<&'a [u8]>,
    request: Request,
    wait_us: u64,
    track: bool,
}

const KEYWORDS: [&str; 5] = ["COST", "PARTIAL", "WAIT", "CRITICAL", "TRACK"];

/// Parses what follows the key.
fn parse<'a>(main: MainThread, key: Arg<'a>, mut walk: Walk<'a>) -> Result<Call<'a>, Error> {
    let request = Request { cost: 1, calls: 1, partial: false, critical: false };
    let mut call = Call { key, limits: None, request, wait_us: 0, track: false };
    call.limits = walk.take_unless(|next| KEYWORDS.iter().any(|keyword| next.is(keyword))).map(Arg::bytes);
    while let Some(option) = walk.take() {
        if option.is("COST") {
            call.request.cost = cost(walk.value_of("COST")?)?;
        } else if option.is("WAIT") && !call.request.partial {
            call.wait_us = queue::wait_option(main, walk.value_of("WAIT")?)?;
        } else if option.is("PARTIAL") && call.wait_us == 0 {
            call.request.partial = true;
        } else if option.is("CRITICAL") {
            call.request.critical = true;
        } else if option.is("TRACK") {
            call.track = true;
        } else {
            return Err(unexpected(option));
        }
    }
    Ok(call)
}

impl Call<'_> {
    fn ask(&self) -> Ask {
        Ask::Acquire { limits: self.limits.map(Into::into), request: self.request, track: self.track }
    }
}

/// `RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT d] [CRITICAL] [TRACK]`
///
/// # Errors
/// Malformed arguments, no limits, or a key of another type.
pub fn acquire(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let name = walk.required()?;
    // First, so that its value arrives meanwhile.
    let mut key = ctx.write(name);
    let call = parse(ctx.main(), name, walk)?;
    let now = ctx.now();
    if queue::stands(ctx, call.key) {
        match queue::meet(ctx, &mut key, &call.ask(), call.wait_us, now)? {
            Met::Nobody => {}
            Met::Waits => return Ok(()),
            Met::Denied(judged) => {
                judged.count(ctx.main());
                top::decided(ctx.main(), call.key.bytes(), false, now);
                let counts = track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), call.track);
                if counts {
                    let counted = track::decided(call.request.cost, 0);
                    commit(ctx, &mut key, &apply::effect(ctx, now, counted), c"rl.acquire")?;
                }
                judged.six().send(ctx);
                return Ok(());
            }
        }
    }
    let held = key.value::<RateLimit>()?;
    // What a grant writes arrives while it is decided.
    if let Some(far) = held.as_deref().and_then(RateLimit::far) {
        prefetch(far);
    }
    let judged = judge(ctx, call.key.bytes(), held.as_deref(), call.limits, &call.request, now);
    // Borrowed: moving it out would copy 200 bytes.
    let Ok(judged) = &judged else { return judged.map(drop) };
    // What is taken and what is counted travel as one.
    let mut together = track::counts(ctx.main(), held.as_deref(), call.track).then(|| Together::new(ctx));
    drop(held);
    judged.change(ctx.main(), |change| {
        let effect = apply::effect(ctx, now, change);
        match &mut together {
            Some(together) => together.apply(ctx, &mut key, &effect, c"rl.acquire"),
            None => commit(ctx, &mut key, &effect, c"rl.acquire").map(drop),
        }
    })?;
    let retry = judged.six.standing.retry;
    if call.wait_us > 0
        && judged.six.granted == 0
        && retry != Wait::Never
        && queue::join(ctx, &key, &call.ask(), call.wait_us, retry, now)
    {
        if let Some(together) = together {
            together.propagate(ctx);
        }
        return Ok(());
    }
    if let Some(mut together) = together {
        let counted = track::decided(call.request.cost, judged.six.granted);
        together.apply(ctx, &mut key, &apply::effect(ctx, now, counted), c"rl.acquire")?;
        together.propagate(ctx);
    }
    if judged.six.granted > 0 {
        metrics::count(ctx.main(), |m| &mut m.acquire_granted);
        metrics::add(ctx.main(), |m| &mut m.acquire_granted_units, judged.six.granted);
    } else {
        metrics::count(ctx.main(), |m| &mut m.acquire_denied);
    }
    judged.count(ctx.main());
    top::decided(ctx.main(), call.key.bytes(), judged.six.granted > 0, now);
    judged.six.send(ctx);
    Ok(())
}

/// A request decided on a key, and what there is to record of it.
#[derive(Debug)]
pub struct Judged {
    /// The reply.
    pub six: Six,
    /// The limits, where the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    labelled: Option<Labelled>,
    records: bool,
}

impl Judged {
    /// A denial that records nothing.
    pub fn denial(six: Six) -> Self {
        Self { six, other: None, taken: Taken::default(), labelled: None, records: false }
    }

    /// The same request denied after all: nothing is recorded of it.
    #[must_use]
    pub fn denied(self, six: Six) -> Self {
        Self { labelled: self.labelled, ..Self::denial(six) }
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        self.six.count(main, self.labelled.as_ref());
    }

    /// Runs `make_it_so` with the change that the decision asks for, if any.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change<E>(
        &self,
        main: MainThread,
        make_it_so: impl FnOnce(Change<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.records {
            return Ok(());
        }
        let set = self.other.as_ref().map(|other| other.get(main));
        let limits = set.as_ref().map(|set| set.canonical());
        if self.six.granted > 0 {
            make_it_so(Change::Take { limits, taken: self.taken })
        } else {
            make_it_so(Change::Touch { limits })
        }
    }
}

/// Decides one request on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, none at all, or such as can only be reserved.
pub fn judge(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<Judged, Error> {
    if let Some(block) = value.and_then(|value| value.block(now)) {
        return blocked(ctx, key, value, block, given, request, now).map(Judged::denial);
    }
    let main = ctx.main();
    let (resolved, _) = resolve(main, key, value, given, now)?;
    let (id, other) = match resolved {
        Resolved::Own => match value.and_then(RateLimit::limits_id) {
            Some(id) => (id, None),
            None => return Err(Error::NoLimits),
        },
        Resolved::Other(other) => (other.id(), Some(other)),
    };
    let set = intern::get(main, id);
    refuse_concurrent(&set)?;
    let decision = match (value, &other) {
        (Some(value), None) => value.with_states(|states| decide(set.limits(), states, now, request)),
        (Some(value), Some(_)) => {
            decide(set.limits(), &value.realigned(main, set.limits(), now).0, now, request)
        }
        (None, _) => decide(set.limits(), &fresh(set.limits()), now, request),
    };
    // What grants without counting (unlimited, or a shadow limit that denies)
    // leaves no trace, nor does a denial on a key that is not there.
    let records = !decision.taken.is_nothing()
        || match (value, &other) {
            (Some(_), None) => decision.record_clock,
            (Some(_), Some(_)) => true,
            (None, _) => false,
        };
    let labelled = if set.origin().is_some() || !decision.shadow_denied.is_empty() {
        let limits = other.clone().or_else(|| value?.limits());
        limits.map(|limits| Labelled { limits, shadow_denied: decision.shadow_denied })
    } else {
        None
    };
    Ok(Judged { six: Six::of(&decision), other, taken: decision.taken, labelled, records })
}

/// Usage of limits on a key that is not there.
fn fresh(limits: &[Limit]) -> Vec<State> {
    limits.iter().map(|_| State::default()).collect()
}

/// The answer on a blocked key: nothing is taken, and the wait is the later of
/// the block's and the limits'.
fn blocked(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    block: &Block,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<Six, Error> {
    let standing = match untouched(ctx, key, value, given, request, now) {
        // A block needs no limits to hold.
        Err(Error::NoLimits) => Standing::UNLIMITED,
        standing => standing?,
    };
    Ok(Six { granted: 0, standing: denied_by_block(standing, block, now), index: Index::Blocked })
}

/// How the limit that binds a request stands while nothing is taken.
///
/// # Errors
/// Malformed limits, none at all, or such as can only be reserved.
pub fn untouched(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<Standing, Error> {
    let (limits, states) = usage(ctx.main(), key, value, given, now)?.ok_or(Error::NoLimits)?;
    let set = limits.get(ctx.main());
    refuse_concurrent(&set)?;
    Ok(decide(set.limits(), &states, now, request).before(set.limits(), &states, now))
}

/// A standing as the block leaves it.
pub fn denied_by_block(standing: Standing, block: &Block, now: Micros) -> Standing {
    Standing { remaining: Some(0), retry: standing.retry.max(block.until.wait(now)), ..standing }
}
