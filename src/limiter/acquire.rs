//! One request decided on the value of a key.

use super::Error;
use super::reply::Index;
use super::resolve::{refuse_concurrent, resolve, usage};
use crate::core::limits::{self, Limit, LimitStatus, Request, State, Taken};
use crate::core::time::Micros;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::ResolvedLimits;
use crate::observe::labels::DecisionLabels;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern::{self, LimitsRef};
use crate::types::operator::Block;
use crate::types::ratelimit::RateLimit;

/// A request decided on a key, and what there is to record of it.
#[derive(Debug)]
pub struct AcquireDecision {
    /// The reply.
    pub reply: RateLimitReply,
    /// The limits, where the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    labelled: Option<DecisionLabels>,
    records: bool,
}

impl AcquireDecision {
    /// A denial that records nothing.
    pub fn denial(reply: RateLimitReply) -> Self {
        Self { reply, other: None, taken: Taken::default(), labelled: None, records: false }
    }

    /// The same request denied after all: nothing is recorded of it.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        Self { labelled: self.labelled, ..Self::denial(reply) }
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        self.reply.count(main, self.labelled.as_ref());
    }

    /// Runs `make_it_so` with the change that the decision asks for, if any.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change<E>(
        &self,
        main: MainThread,
        make_it_so: impl FnOnce(RateLimitChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.records {
            return Ok(());
        }
        let text = self.other.as_ref().map(|other| other.text(main));
        let limits = text.as_deref();
        if self.reply.granted > 0 {
            make_it_so(RateLimitChange::Take { limits, taken: self.taken })
        } else {
            make_it_so(RateLimitChange::Touch { limits })
        }
    }
}

/// Decides one request on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, none at all, or such as can only be reserved.
pub fn decide(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<AcquireDecision, Error> {
    if let Some(block) = value.and_then(|value| value.block(now)) {
        return blocked(ctx, key, value, block, given, request, now).map(AcquireDecision::denial);
    }
    let main = ctx.main();
    let (resolved, _) = resolve(main, key, value, given, now)?;
    let (id, other) = match resolved {
        ResolvedLimits::Own => match value.and_then(RateLimit::limits_id) {
            Some(id) => (id, None),
            None => return Err(Error::NoLimits),
        },
        ResolvedLimits::Other(other) => (other.id(), Some(other)),
    };
    let set = intern::get(main, id);
    refuse_concurrent(&set)?;
    let decision = match (value, &other) {
        (Some(value), None) => value.with_states(|states| limits::decide(set.limits(), states, now, request)),
        (Some(value), Some(_)) => {
            limits::decide(set.limits(), &value.realigned(main, set.limits(), now).0, now, request)
        }
        (None, _) => limits::decide(set.limits(), &fresh(set.limits()), now, request),
    };
    // What grants without counting (unlimited, or a shadow limit that denies)
    // leaves no trace, nor does a denial on a key that is not there.
    let records = !decision.taken.is_nothing()
        || match (value, &other) {
            (Some(value), None) => decision.record_clock || value.reserved_after(now),
            (Some(_), Some(_)) => true,
            (None, _) => false,
        };
    let labelled = if set.origin().is_some() || !decision.shadow_denied.is_empty() {
        let limits = other.clone().or_else(|| value?.limits());
        limits.map(|limits| DecisionLabels { limits, shadow_denied: decision.shadow_denied })
    } else {
        None
    };
    Ok(AcquireDecision {
        reply: RateLimitReply::of(&decision),
        other,
        taken: decision.taken,
        labelled,
        records,
    })
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
) -> Result<RateLimitReply, Error> {
    let status = match status_only(ctx, key, value, given, request, now) {
        // A block needs no limits to hold.
        Err(Error::NoLimits) => LimitStatus::UNLIMITED,
        status => status?,
    };
    Ok(RateLimitReply { granted: 0, status: denied_by_block(status, block, now), index: Index::Blocked })
}

/// How the limit that binds a request stands while nothing is taken.
///
/// # Errors
/// Malformed limits, none at all, or such as can only be reserved.
pub fn status_only(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<LimitStatus, Error> {
    let (limits, states) = usage(ctx.main(), key, value, given, now)?.ok_or(Error::NoLimits)?;
    let set = limits.get(ctx.main());
    refuse_concurrent(&set)?;
    Ok(limits::decide(set.limits(), &states, now, request).before(set.limits(), &states, now))
}

/// A status as the block leaves it.
pub fn denied_by_block(status: LimitStatus, block: &Block, now: Micros) -> LimitStatus {
    LimitStatus { remaining: Some(0), retry: status.retry.max(block.until.wait(now)), ..status }
}
