//! One reservation decided on the value of a key.

use super::Error;
use super::acquire::denied_by_block;
use super::reply::Index;
use super::resolve::usage;
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
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::hold;

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

    /// What is asked of the limits.
    pub const fn request(&self) -> Request {
        Request { cost: self.cost, calls: 1, partial: false, critical: self.critical }
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
    /// It is denied, and a clock that stepped back is recorded.
    RecordClock,
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
}

impl ReserveDecision {
    /// Nothing is to be done to the key.
    const fn leave(reply: RateLimitReply, before: LimitStatus, labelled: Option<DecisionLabels>) -> Self {
        Self { reply, before, verdict: ReserveAction::Leave, labelled }
    }

    /// Whether there is something to take: it is granted, and new.
    pub const fn takes(&self) -> bool {
        matches!(self.verdict, ReserveAction::Take(..))
    }

    /// Whether it is denied, and a clock that stepped back is to be recorded.
    pub const fn records_clock(&self) -> bool {
        matches!(self.verdict, ReserveAction::RecordClock)
    }

    /// The same request denied after all.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        Self::leave(reply, reply.status, self.labelled)
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        if self.takes() {
            metrics::count(main, |m| &mut m.reservations_granted);
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
            ReserveAction::Leave => return Ok(()),
            ReserveAction::RecordClock => return make_it_so(RateLimitChange::Touch { limits: None }),
            ReserveAction::Take(other, taken) => (other, taken),
        };
        let text = other.as_ref().map(|other| other.text(main));
        let limits = text.as_deref();
        make_it_so(RateLimitChange::Reserve {
            limits,
            taken: *taken,
            id: terms.id,
            cost: terms.cost,
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
/// Malformed limits or none at all.
pub fn decide(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: &[u8],
    terms: &Terms<'_>,
    now: Micros,
) -> Result<ReserveDecision, Error> {
    let main = ctx.main();
    let known = value.and_then(RateLimit::reservations).map(|all| all.at(main, now));
    let known = known.as_ref().and_then(|all| all.book().get(terms.id));
    let known = known.filter(|one| one.stage_at(now) == Some(Stage::Open));
    let (limits, mut states) = usage(main, key, value, Some(given), now)?.ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    hold(main, value, set.limits(), &mut states, now, terms.end(now));
    if let Some(one) = known {
        let (status, index) = status(set.limits(), &states, now);
        let reply = RateLimitReply { granted: one.cost, status, index: Index::Limit(index) };
        return Ok(ReserveDecision::leave(reply, status, None));
    }
    let decision = limits::decide(set.limits(), &states, now, &terms.request());
    let before = decision.before(set.limits(), &states, now);
    let mut reply = RateLimitReply::of(&decision);
    if let Some(block) = value.and_then(|value| value.block(now)) {
        // Its limits are not asked.
        reply =
            RateLimitReply { granted: 0, status: denied_by_block(before, block, now), index: Index::Blocked };
        return Ok(ReserveDecision::leave(reply, reply.status, None));
    }
    let labelled = DecisionLabels::of(main, &limits, decision.shadow_denied);
    if reply.granted == 0 {
        let records = decision.record_clock && value.is_some();
        let verdict = if records { ReserveAction::RecordClock } else { ReserveAction::Leave };
        return Ok(ReserveDecision { reply, before: reply.status, verdict, labelled });
    }
    drop(set);
    let other = (value.and_then(RateLimit::limits_id) != Some(limits.id())).then_some(limits);
    Ok(ReserveDecision { reply, before, verdict: ReserveAction::Take(other, decision.taken), labelled })
}

/// Where the enforcing limit with the least remaining stands.
fn status(limits: &[Limit], states: &[State], now: Micros) -> (LimitStatus, usize) {
    let looks = limits.iter().zip(states).enumerate().filter(|(_, (limit, _))| !limit.shadow());
    looks
        .map(|(at, (limit, state))| (at, look(limit, state, now, 1)))
        .min_by_key(|(_, look)| look.remaining.unwrap_or(u64::MAX))
        .map_or((LimitStatus::UNLIMITED, 0), |(at, look)| {
            let (limit, remaining, reset_after_us) = (look.limit, look.remaining, look.reset_after_us);
            (LimitStatus { limit, remaining, retry: RetryAfter::Now, reset_after_us }, at)
        })
}
