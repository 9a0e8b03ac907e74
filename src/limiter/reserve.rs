//! Decides one reservation on the value of a key.

use super::Error;
use super::closing::BlocksBegun;
use super::ends::{self, Retry, try_out};
use super::reply::Index;
use super::resolve::{KeyView, ResolvedLimits, Source};
use crate::core::limits::{self, Limit, LimitStatus, Request, State, Taken, limit_quota};
use crate::core::reservations::Stage;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::reply::RateLimitReply;
use crate::observe::labels::DecisionLabels;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::reply::{self, List};
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{RateLimitChange, Reserve, Settle};
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::reservations::Settlement;
use crate::types::ratelimit::{Lifetime, RateLimit, hold};

/// The terms of a reservation. They are the same for every key of a call.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The request to the limits.
    pub request: Request,
    /// The time for which units are reserved, in microseconds.
    pub ttl_us: u64,
    /// The ID of the reservation.
    pub id: &'a [u8],
}

impl Terms<'_> {
    /// When a reservation that is granted at `now` ends.
    pub fn end(&self, now: Micros) -> Micros {
        now.plus(self.ttl_us).min(Micros::MAX)
    }
}

/// Sends `[id|nil, [reply per key]]`.
pub fn send(ctx: &Context<'_>, id: Option<&[u8]>, replies: &[RateLimitReply]) {
    reply::array(ctx, &[&id, &List(replies)]);
}

/// The action that the key needs.
#[derive(Debug)]
enum ReserveAction {
    /// Nothing: the request is denied, or the same reservation already exists.
    Leave,
    /// The request is denied, and closes limits once [`ReserveDecision::close`] is called.
    Close(Box<BlocksBegun>),
    /// Units are taken. The limits are set if the key used others last or is new.
    Take(Option<LimitsRef>, Taken),
}

/// The decision on a reservation on one key.
#[derive(Debug)]
pub struct ReserveDecision {
    /// The reply.
    pub reply: RateLimitReply,
    /// The status of the binding limit before anything is taken.
    pub before: LimitStatus,
    verdict: ReserveAction,
    labelled: Option<DecisionLabels>,
    /// True if the clock stepped back. This is recorded even if the request is denied.
    stepped_back: bool,
}

impl ReserveDecision {
    /// A decision that leaves the key as it is.
    const fn leave(reply: RateLimitReply, before: LimitStatus, labelled: Option<DecisionLabels>) -> Self {
        Self { reply, before, verdict: ReserveAction::Leave, labelled, stepped_back: false }
    }

    /// The denial on a blocked key, whose limits are not asked. `before` is their status.
    fn blocked(
        found: KeyView<'_>,
        before: LimitStatus,
        source: Source,
        given: &[u8],
        terms: &Terms<'_>,
    ) -> Self {
        let status = LimitStatus { remaining: Some(0), ..before };
        let reply = RateLimitReply { granted: 0, status, index: Index::Blocked };
        let denial = Self { stepped_back: found.stepped_back(), ..Self::leave(reply, status, None) };
        denial.across(found, source, given, terms)
    }

    /// True if units are taken: the reservation is granted, and new.
    pub const fn takes(&self) -> bool {
        matches!(self.verdict, ReserveAction::Take(..))
    }

    /// Puts the blocks of the denial in force, because the request does not wait.
    pub fn close(&mut self) {
        if let ReserveAction::Close(blocks) = &mut self.verdict {
            blocks.in_force = true;
            self.reply = blocks.reply;
            self.before = blocks.reply.status;
        }
    }

    /// Corrects the retry of a denial. `retry` finds it on the key, with the blocks of the denial in
    /// force and without.
    pub fn correct_retry(&mut self, found: KeyView<'_>, retry: impl Fn(KeyView<'_>) -> RetryAfter) {
        self.reply.status.retry = retry(found);
        self.before = self.reply.status;
        if let ReserveAction::Close(blocks) = &mut self.verdict {
            blocks.correct_retry(found, retry);
        }
    }

    /// The denial of the same request after all.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        let stepped_back = self.stepped_back;
        Self { stepped_back, ..Self::leave(reply, reply.status, self.labelled) }
    }

    /// Counts what every command that takes units counts.
    pub fn count(&self, main: MainThread) {
        if self.takes() {
            metrics::count(main, |m| &mut m.reservations_granted);
        }
        if let ReserveAction::Close(blocks) = &self.verdict
            && blocks.in_force
        {
            blocks.count(main);
        }
        self.reply.count(main, self.labelled.as_ref());
    }

    /// Calls `make` with the change that the decision asks for, if there is one.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn change(
        &self,
        main: MainThread,
        terms: &Terms<'_>,
        now: Micros,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (other, taken) = match &self.verdict {
            ReserveAction::Take(other, taken) => (other, taken),
            ReserveAction::Close(blocks) if blocks.in_force => return make(blocks.change()),
            _ if self.stepped_back => return make(RateLimitChange::Touch(None)),
            _ => return Ok(()),
        };
        let text = other.as_ref().map(|other| other.text(main));
        let limits = text.as_deref();
        make(RateLimitChange::Reserve(Reserve {
            limits,
            taken: *taken,
            id: terms.id,
            cost: self.reply.granted,
            end: terms.end(now),
        }))
    }

    /// Corrects the retry-after of a denial for a block and for a pin that ends, see
    /// [`ends::across`].
    fn across(mut self, found: KeyView<'_>, source: Source, given: &[u8], terms: &Terms<'_>) -> Self {
        if found.value.is_none() {
            return self;
        }
        let later = |then: KeyView<'_>| decide(then, given, terms).map(|later| later.reply.status.retry);
        let pinned = source == Source::Pin;
        self.reply.status.retry =
            ends::across(found, Retry { limits: self.reply.status.retry, pinned }, later);
        self.before = self.reply.status;
        if let (true, ReserveAction::Close(blocks)) = (pinned, &mut self.verdict) {
            blocks.across_pin(found, later);
        }
        self
    }

    /// Denies the reservation because another key of the call denies it.
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
/// Malformed limits, no limits, or more limits with usage than a key remembers.
pub fn decide(found: KeyView<'_>, given: &[u8], terms: &Terms<'_>) -> Result<ReserveDecision, Error> {
    let KeyView { main, value, now, .. } = found;
    let known = value.filter(|value| is_open(Some(value), terms.id, now));
    let known = known.and_then(|value| value.book()?.get(terms.id));
    let (resolved, source) = match (found.resolve(Some(given)), known) {
        // The reservation stands, although the limits that it named are gone.
        (Err(Error::NoLimits | Error::NoPolicy(_)), Some(one)) => {
            (ResolvedLimits::Other(one.limits.clone()), Source::Last)
        }
        // A block holds even without limits.
        (Err(Error::NoLimits), None) if found.is_blocked() => {
            return Ok(ReserveDecision::blocked(found, LimitStatus::UNLIMITED, Source::Last, given, terms));
        }
        (resolved, _) => resolved?,
    };
    let (limits, mut states) = found.usage_of(&resolved).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, terms.end(now), &terms.request);
    if let Some(one) = known {
        let (status, index) = status(set.limits(), &states, now);
        let reply = RateLimitReply { granted: one.cost, status, index: Index::Limit(index) };
        return Ok(ReserveDecision::leave(reply, status, None));
    }
    let decision = limits::decide(set.limits(), &states, now, &terms.request);
    let before = decision.before(set.limits(), &states, now);
    let stepped_back = found.stepped_back();
    if found.is_blocked() {
        // The limits that hold later are looked up again.
        drop(set);
        return Ok(ReserveDecision::blocked(found, before, source, given, terms));
    }
    let is_other = value.and_then(RateLimit::limits_id) != Some(limits.id());
    if decision.is_granted() && is_other {
        found.refuse_too_many(set.limits())?;
    }
    let closes = BlocksBegun::of(set.limits(), &states, now, &terms.request, &decision);
    // The limits that hold later are looked up again.
    drop(set);
    let reply = RateLimitReply::of(&decision);
    let labelled = DecisionLabels::of(main, &limits, decision.shadow_denied);
    if reply.granted == 0 {
        let verdict = closes.map_or(ReserveAction::Leave, ReserveAction::Close);
        let denial = ReserveDecision { verdict, ..ReserveDecision::leave(reply, reply.status, labelled) };
        return Ok(ReserveDecision { stepped_back, ..denial.across(found, source, given, terms) });
    }
    let verdict = ReserveAction::Take(is_other.then_some(limits), decision.taken);
    Ok(ReserveDecision { reply, before, verdict, labelled, stepped_back })
}

/// True if the reservation with this ID is open on a key.
pub fn is_open(value: Option<&RateLimit>, id: &[u8], now: Micros) -> bool {
    let known = value.and_then(|value| value.book()?.get(id));
    known.is_some_and(|one| one.stage_at(now) == Some(Stage::Open))
}

/// A copy of the value as it is once the reservation is released; `None` if nothing is left of it.
pub fn released(main: MainThread, value: &RateLimit, id: &[u8], now: Micros) -> Option<RateLimit> {
    let mut without = Some(value.simulation());
    let release = RateLimitChange::Settle(Settle { id, how: Settlement::Release });
    let lifetime = try_out(main, &mut without, now, release).ok().flatten();
    without.filter(|_| lifetime != Some(Lifetime::Over))
}

/// The status of the enforcing limit with the least remaining units, and its position.
fn status(limits: &[Limit], states: &[State], now: Micros) -> (LimitStatus, usize) {
    let looks = limits.iter().zip(states).enumerate().filter(|(_, (limit, _))| !limit.shadow());
    looks
        .map(|(at, (limit, state))| (at, limit_quota(limit, state, now, 1)))
        .min_by_key(|(_, quota)| quota.remaining.unwrap_or(u64::MAX))
        .map_or((LimitStatus::UNLIMITED, 0), |(at, quota)| {
            let (limit, remaining, reset) = (quota.limit, quota.remaining, quota.reset);
            (LimitStatus { limit, remaining, retry: RetryAfter::Now, reset }, at)
        })
}
