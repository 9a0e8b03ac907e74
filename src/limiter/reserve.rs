//! One reservation decided on the value of a key.

use super::Error;
use super::closing::BlocksBegun;
use super::ends::{self, Retry};
use super::reply::Index;
use super::resolve::{Source, refuse_crowd, resolve, usage_of};
use crate::core::limits::{self, Limit, LimitStatus, Request, State, Taken, look};
use crate::core::reservations::Stage;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::reply::RateLimitReply;
use crate::observe::labels::DecisionLabels;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::reply;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{AppliedRateLimit, RateLimitChange, RateLimitEffect};
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::reservations::Settlement;
use crate::types::ratelimit::{Lifetime, RateLimit, hold};

/// What is asked of every key.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Units.
    pub cost: u64,
    /// Reserve fewer units rather than none.
    pub partial: bool,
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

    /// What is asked of the limits.
    pub const fn request(&self) -> Request {
        Request { cost: self.cost, calls: 1, partial: self.partial, critical: self.critical }
    }
}

/// `[id|nil, [reply per key]]`.
pub fn send(ctx: &Context<'_>, id: Option<&[u8]>, replies: &[RateLimitReply]) {
    reply::array(ctx, 2);
    match id {
        Some(id) => reply::bytes(ctx, id),
        None => reply::null(ctx),
    }
    reply::array(ctx, replies.len());
    for reply in replies {
        reply.send(ctx);
    }
}

/// What there is to do to the key.
#[derive(Debug)]
enum ReserveAction {
    /// It is denied, or the same reservation stands already.
    Leave,
    /// It is denied, and closes limits unless it waits.
    MayClose(Box<BlocksBegun>),
    /// It is denied, and closes limits.
    Close(Box<BlocksBegun>),
    /// Units are taken; the limits, where the key used others last or is new.
    Take(Option<LimitsRef>, Taken),
}

/// A reservation decided on one key.
#[derive(Debug)]
pub struct ReserveDecision {
    /// The reply.
    pub reply: RateLimitReply,
    /// The binding limit before anything is taken.
    pub before: LimitStatus,
    verdict: ReserveAction,
    labelled: Option<DecisionLabels>,
    /// The clock stepped back: that is to be recorded also where it is denied.
    stepped_back: bool,
}

impl ReserveDecision {
    /// Nothing is to be done to the key.
    const fn leave(reply: RateLimitReply, before: LimitStatus, labelled: Option<DecisionLabels>) -> Self {
        Self { reply, before, verdict: ReserveAction::Leave, labelled, stepped_back: false }
    }

    /// Whether there is something to take: it is granted, and new.
    pub const fn takes(&self) -> bool {
        matches!(self.verdict, ReserveAction::Take(..))
    }

    /// The request does not wait: what its denial closes, closes.
    pub fn close(&mut self) {
        self.verdict = match std::mem::replace(&mut self.verdict, ReserveAction::Leave) {
            ReserveAction::MayClose(blocks) => {
                self.reply = blocks.reply;
                self.before = blocks.reply.status;
                ReserveAction::Close(blocks)
            }
            other => other,
        };
    }

    /// The same request denied after all.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        let stepped_back = self.stepped_back;
        Self { stepped_back, ..Self::leave(reply, reply.status, self.labelled) }
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        if self.takes() {
            metrics::count(main, |m| &mut m.reservations_granted);
        }
        if let ReserveAction::Close(blocks) = &self.verdict {
            blocks.count(main);
        }
        self.reply.count(main, self.labelled.as_ref());
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
        make_it_so: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (other, taken) = match &self.verdict {
            ReserveAction::Take(other, taken) => (other, taken),
            ReserveAction::Close(blocks) => return make_it_so(blocks.change()),
            ReserveAction::Leave | ReserveAction::MayClose(_) if self.stepped_back => {
                return make_it_so(RateLimitChange::Touch { limits: None });
            }
            ReserveAction::Leave | ReserveAction::MayClose(_) => return Ok(()),
        };
        let text = other.as_ref().map(|other| other.text(main));
        let limits = text.as_deref();
        make_it_so(RateLimitChange::Reserve {
            limits,
            taken: *taken,
            id: terms.id,
            cost: self.reply.granted,
            end: terms.end(now),
        })
    }

    /// Denies it because another key of the hierarchy does.
    pub fn deny_with_others(&mut self, longest: RetryAfter) {
        let status = LimitStatus { retry: longest, ..self.before };
        self.reply = RateLimitReply { granted: 0, status, index: Index::Batch };
        if self.takes() {
            self.verdict = ReserveAction::Leave;
        }
    }
}

/// Decides a reservation on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, none at all, or more than the key remembers the usage of.
pub fn decide(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: &[u8],
    terms: &Terms<'_>,
    now: Micros,
) -> Result<ReserveDecision, Error> {
    let main = ctx.main();
    let known = value.filter(|value| is_open(Some(value), terms.id, now));
    let known = known.and_then(|value| value.book()?.get(terms.id));
    let (resolved, source) = resolve(main, key, value, Some(given), now)?;
    let (limits, mut states) = usage_of(main, value, &resolved, now).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, terms.end(now), &terms.request());
    if let Some(one) = known {
        let (status, index) = status(set.limits(), &states, now);
        let reply = RateLimitReply { granted: one.cost, status, index: Index::Limit(index) };
        return Ok(ReserveDecision::leave(reply, status, None));
    }
    let decision = limits::decide(set.limits(), &states, now, &terms.request());
    let before = decision.before(set.limits(), &states, now);
    let stepped_back = value.is_some_and(|value| value.stepped_back(main, now));
    let is_other = value.and_then(RateLimit::limits_id) != Some(limits.id());
    let block = value.is_some_and(|value| value.block(now).is_some());
    if decision.is_granted() && !block && is_other {
        refuse_crowd(main, value, set.limits(), now)?;
    }
    let mut closes =
        if block { None } else { BlocksBegun::of(set.limits(), &states, now, &terms.request(), &decision) };
    // What holds later is looked up anew.
    drop(set);
    let mut reply = RateLimitReply::of(&decision);
    let mut labelled = DecisionLabels::of(main, &limits, decision.shadow_denied);
    if block {
        // Its limits are not asked.
        reply = RateLimitReply {
            granted: 0,
            status: LimitStatus { remaining: Some(0), ..before },
            index: Index::Blocked,
        };
        labelled = None;
    }
    if reply.granted == 0 {
        if let Some(value) = value {
            let later = |value: Option<&RateLimit>, then| {
                decide(ctx, key, value, given, terms, then).map(|later| later.reply.status.retry)
            };
            let pinned = source == Source::Pin;
            let retry = Retry { limits: reply.status.retry, pinned };
            reply.status.retry = ends::across(main, value, retry, now, later);
            if pinned && let Some(blocks) = &mut closes {
                blocks.across_pin(main, value, now, later);
            }
        }
        let verdict = closes.map_or(ReserveAction::Leave, ReserveAction::MayClose);
        let denial = ReserveDecision::leave(reply, reply.status, labelled);
        return Ok(ReserveDecision { verdict, stepped_back, ..denial });
    }
    let verdict = ReserveAction::Take(is_other.then_some(limits), decision.taken);
    Ok(ReserveDecision { reply, before, verdict, labelled, stepped_back })
}

/// Whether the reservation is open on a key.
pub fn is_open(value: Option<&RateLimit>, id: &[u8], now: Micros) -> bool {
    let known = value.and_then(|value| value.book()?.get(id));
    known.is_some_and(|one| one.stage_at(now) == Some(Stage::Open))
}

/// A key as it is once the reservation is released; `None` where nothing is left of it.
pub fn released(main: MainThread, value: &RateLimit, id: &[u8], now: Micros) -> Option<RateLimit> {
    let mut without = value.simulation();
    let change = RateLimitChange::Settle { id, how: Settlement::Release };
    let release = RateLimitEffect { now, expires: false, change };
    match release.apply(main, Some(&mut without)) {
        Ok(AppliedRateLimit::InPlace(Lifetime::Over)) => None,
        _ => Some(without),
    }
}

/// Where the enforcing limit with the least remaining stands.
fn status(limits: &[Limit], states: &[State], now: Micros) -> (LimitStatus, usize) {
    let looks = limits.iter().zip(states).enumerate().filter(|(_, (limit, _))| !limit.shadow());
    looks
        .map(|(at, (limit, state))| (at, look(limit, state, now, 1)))
        .min_by_key(|(_, look)| look.remaining.unwrap_or(u64::MAX))
        .map_or((LimitStatus::UNLIMITED, 0), |(at, look)| {
            let (limit, remaining, reset) = (look.limit, look.remaining, look.reset);
            (LimitStatus { limit, remaining, retry: RetryAfter::Now, reset }, at)
        })
}
