//! RL.RESERVE: takes units and places until they are settled, on one key or on
//! a whole hierarchy at once.

use super::acquire::denied_by_block;
use super::arguments::{Walk, cost, length, number, unexpected};
use crate::core::limits::{Limit, Request, Standing, State, Taken, Wait, decide, look};
use crate::core::reservations::{MAX_ID, Stage};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::Together;
use crate::limiter::reply::{Index, Six};
use crate::limiter::resolve::usage;
use crate::limiter::track;
use crate::observe::labels::Labelled;
use crate::observe::{metrics, top};
use crate::queue;
use crate::queue::{Ask, Met};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::{random, reply};
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::Change;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::reservations::hold;

/// What is asked of every key.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Units.
    pub cost: u64,
    /// For how long, in microseconds.
    pub ttl_us: u64,
    /// What it is known by.
    pub id: &'a [u8],
    /// May use the part that `keep=` keeps.
    pub critical: bool,
}

impl Terms<'_> {
    /// When a reservation granted at `now` ends.
    pub fn end(&self, now: Micros) -> Micros {
        now.plus(self.ttl_us).min(Micros::MAX)
    }

    fn ask(&self, limits: &[u8]) -> Ask {
        let Self { cost, ttl_us, id, critical } = *self;
        Ask::Reserve { limits: limits.into(), id: id.into(), cost, ttl_us, critical }
    }

    const fn request(&self) -> Request {
        Request { cost: self.cost, calls: 1, partial: false, critical: self.critical }
    }
}

#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    key: Arg<'a>,
    limits: &'a [u8],
}

#[derive(Debug)]
struct Call<'a> {
    items: Vec<Item<'a>>,
    cost: u64,
    ttl_us: u64,
    id: Option<&'a [u8]>,
    critical: bool,
    wait_us: u64,
}

/// An id that a caller chose.
///
/// # Errors
/// It is empty or too long.
pub fn id_of(arg: Arg<'_>) -> Result<&[u8], Error> {
    match arg.bytes() {
        id if (1..=MAX_ID).contains(&id.len()) => Ok(id),
        _ => Err(Error::Range { name: "ID", expected: format!("1 to {MAX_ID} bytes") }),
    }
}

fn parse<'a>(ctx: &Context<'_>, args: Args<'a>) -> Result<Call<'a>, Error> {
    let mut walk = Walk::new(args);
    let count = number("numkeys", walk.required()?, 1, settings::batch_max(ctx.main()))?;
    let count = usize::try_from(count).map_err(|_| Error::Arity)?;
    if walk.left() < count.saturating_mul(2) {
        return Err(Error::Other("numkeys is more than the keys and limits that follow".to_owned()));
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(Item { key: walk.required()?, limits: walk.required()?.bytes() });
    }
    let mut names: Vec<_> = items.iter().map(|item| item.key.bytes()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < items.len() {
        return Err(Error::Other("the same key twice in one reservation".to_owned()));
    }
    let mut call = Call { items, cost: 1, ttl_us: 0, id: None, critical: false, wait_us: 0 };
    while let Some(option) = walk.take() {
        if option.is("COST") {
            call.cost = cost(walk.value_of("COST")?)?;
        } else if option.is("TTL") {
            call.ttl_us = length(walk.value_of("TTL")?)?;
        } else if option.is("ID") {
            call.id = Some(id_of(walk.value_of("ID")?)?);
        } else if option.is("WAIT") {
            call.wait_us = queue::wait_option(ctx.main(), walk.value_of("WAIT")?)?;
            if call.items.len() > 1 {
                return Err(Error::Other("WAIT works with one key only".to_owned()));
            }
        } else if option.is("CRITICAL") {
            call.critical = true;
        } else {
            return Err(unexpected(option));
        }
    }
    if call.ttl_us == 0 {
        return Err(Error::Other("syntax error: a reservation needs TTL".to_owned()));
    }
    Ok(call)
}

/// `RL.RESERVE numkeys key limits [key limits …] [COST n] TTL d [ID id] [WAIT d]
/// [CRITICAL]`
///
/// # Errors
/// Malformed arguments or a key of another type; then nothing is taken.
pub fn reserve(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let call = parse(ctx, args)?;
    let now = ctx.now();
    let fresh: [u8; 32];
    let id = if let Some(id) = call.id {
        id
    } else {
        fresh = random::hex();
        &fresh
    };
    let terms = Terms { cost: call.cost, ttl_us: call.ttl_us, id, critical: call.critical };
    let mut all = Vec::with_capacity(call.items.len());
    for item in &call.items {
        let mut key = ctx.read(item.key);
        let mut one =
            judge(ctx, item.key.bytes(), key.value::<RateLimit>()?.as_deref(), item.limits, &terms, now)?;
        let ask = || terms.ask(item.limits);
        let wants = one.takes() || one.six.granted == 0;
        if wants && queue::stands(ctx, item.key) {
            match queue::meet(ctx, &mut key, &ask(), call.wait_us, now)? {
                Met::Nobody => {}
                Met::Waits => return Ok(()),
                Met::Denied(judged) => one = one.denied(judged.six()),
            }
        }
        let retry = one.six.standing.retry;
        if call.wait_us > 0
            && one.six.granted == 0
            && one.six.index != Index::Line
            && retry != Wait::Never
            && queue::join(ctx, &key, &ask(), call.wait_us, retry, now)
        {
            return Ok(());
        }
        all.push(one);
    }
    let longest = all.iter().filter(|one| one.six.granted == 0).map(|one| one.six.standing.retry).max();
    if let Some(longest) = longest {
        metrics::count(ctx.main(), |m| &mut m.reservations_denied);
        for (item, one) in call.items.iter().zip(&mut all) {
            if one.six.granted == 0 {
                top::decided(ctx.main(), item.key.bytes(), false, now);
            } else {
                one.deny_with_others(longest);
            }
        }
    }
    let mut together = Together::new(ctx);
    for (item, one) in call.items.iter().zip(&all) {
        settle(ctx, item.key, one, &terms, now, &mut together)?;
    }
    together.propagate(ctx);
    let sixes: Vec<Six> = all.iter().map(|one| one.six).collect();
    send(ctx, longest.is_none().then_some(id), &sixes);
    Ok(())
}

/// Takes what was decided on one key, and counts it.
fn settle<'a>(
    ctx: &'a Context<'_>,
    name: Arg<'a>,
    one: &Judged,
    terms: &Terms<'_>,
    now: Micros,
    together: &mut Together<'a>,
) -> Result<(), Error> {
    one.count(ctx.main());
    let granted = if one.takes() { terms.cost } else { 0 };
    if granted > 0 {
        top::decided(ctx.main(), name.bytes(), true, now);
    } else if one.six.granted > 0 {
        // The same reservation stands already: a retry is no new request.
        return Ok(());
    }
    let mut key = ctx.write(name);
    let counts = track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
    one.change(ctx.main(), terms, now, |change| {
        together.apply(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.reserve")
    })?;
    if counts {
        let counted = track::decided(terms.cost, granted);
        together.apply(ctx, &mut key, &apply::effect(ctx, now, counted), c"rl.reserve")?;
    }
    Ok(())
}

/// `[id|nil, [six per key]]`.
pub fn send(ctx: &Context<'_>, id: Option<&[u8]>, sixes: &[Six]) {
    reply::array(ctx, 2);
    match id {
        Some(id) => reply::bytes(ctx, id),
        None => reply::null(ctx),
    }
    reply::array(ctx, sixes.len());
    for six in sixes {
        six.send(ctx);
    }
}

/// What there is to do to the key.
#[derive(Debug)]
enum Verdict {
    /// It is denied, or the same reservation stands already.
    Leave,
    /// Units are taken; the limits, where the key used others last or is new.
    Take(Option<LimitsRef>, Taken),
}

/// A reservation decided on one key.
#[derive(Debug)]
pub struct Judged {
    /// The reply.
    pub six: Six,
    /// The binding limit before anything is taken.
    pub before: Standing,
    verdict: Verdict,
    labelled: Option<Labelled>,
}

impl Judged {
    /// Nothing is to be done to the key.
    const fn leave(six: Six, before: Standing, labelled: Option<Labelled>) -> Self {
        Self { six, before, verdict: Verdict::Leave, labelled }
    }

    /// Whether there is something to take: it is granted, and new.
    pub const fn takes(&self) -> bool {
        matches!(self.verdict, Verdict::Take(..))
    }

    /// The same request denied after all.
    #[must_use]
    pub fn denied(self, six: Six) -> Self {
        Self::leave(six, six.standing, self.labelled)
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        if self.takes() {
            metrics::count(main, |m| &mut m.reservations_granted);
        }
        self.six.count(main, self.labelled.as_ref());
    }

    /// Runs `make_it_so` with the change that the decision asks for, if any.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change(
        &self,
        main: MainThread,
        terms: &Terms<'_>,
        now: Micros,
        make_it_so: impl FnOnce(Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Verdict::Take(other, taken) = &self.verdict else { return Ok(()) };
        let set = other.as_ref().map(|other| other.get(main));
        let limits = set.as_ref().map(|set| set.canonical());
        make_it_so(Change::Reserve {
            limits,
            taken: *taken,
            id: terms.id,
            cost: terms.cost,
            end: terms.end(now),
        })
    }

    /// Denies it because another key of the hierarchy does.
    fn deny_with_others(&mut self, longest: Wait) {
        let standing = Standing { retry: longest, ..self.before };
        self.six = Six { granted: 0, standing, index: Index::Batch };
        self.verdict = Verdict::Leave;
    }
}

/// Decides a reservation on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits or none at all.
pub fn judge(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: &[u8],
    terms: &Terms<'_>,
    now: Micros,
) -> Result<Judged, Error> {
    let main = ctx.main();
    let known = value.and_then(|value| value.book()?.get(terms.id));
    let known = known.filter(|one| one.stage_at(now) == Some(Stage::Open));
    let (limits, mut states) = usage(main, key, value, Some(given), now)?.ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, terms.end(now));
    if let Some(one) = known {
        let (standing, index) = standing(set.limits(), &states, now);
        let six = Six { granted: one.cost, standing, index: Index::Limit(index) };
        return Ok(Judged::leave(six, standing, None));
    }
    let decision = decide(set.limits(), &states, now, &terms.request());
    let before = decision.before(set.limits(), &states, now);
    let mut six = Six::of(&decision);
    if let Some(block) = value.and_then(|value| value.block(now)) {
        // Its limits are not asked.
        six = Six { granted: 0, standing: denied_by_block(before, block, now), index: Index::Blocked };
        return Ok(Judged::leave(six, six.standing, None));
    }
    let labelled = Labelled::of(main, &limits, decision.shadow_denied);
    if six.granted == 0 {
        return Ok(Judged::leave(six, six.standing, labelled));
    }
    drop(set);
    let other = (value.and_then(RateLimit::limits_id) != Some(limits.id())).then_some(limits);
    Ok(Judged { six, before, verdict: Verdict::Take(other, decision.taken), labelled })
}

/// Where the enforcing limit with the least remaining stands.
fn standing(limits: &[Limit], states: &[State], now: Micros) -> (Standing, usize) {
    let looks = limits.iter().zip(states).enumerate().filter(|(_, (limit, _))| !limit.shadow());
    looks
        .map(|(at, (limit, state))| (at, look(limit, state, now, 1)))
        .min_by_key(|(_, look)| look.remaining.unwrap_or(u64::MAX))
        .map_or((Standing::UNLIMITED, 0), |(at, look)| {
            let (limit, remaining, reset_after_us) = (look.limit, look.remaining, look.reset_after_us);
            (Standing { limit, remaining, retry: Wait::Now, reset_after_us }, at)
        })
}
