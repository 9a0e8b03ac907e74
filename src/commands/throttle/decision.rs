//! The decision on a call, by the limit that its arguments make or by the limits that the server has.

use super::call::ThrottleCall;
use crate::commands::quota_headers::seconds;
use crate::core::limits::throttle::ThrottleReply;
use crate::core::limits::{self, Limit, Limits, State, Taken};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::{AcquireDecision, decide_until};
use crate::limiter::ends::{self, Retry};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::{KeyView, Source};
use crate::observe::metrics;
use crate::server::ffi::reply::signed;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::{RateLimitChange, TakeUnits};
use crate::types::intern::{self, LimitsRef};
use crate::types::ratelimit::RateLimit;
use crate::types::until::Until;

/// The decision on a call.
#[derive(Debug)]
pub(super) enum ThrottleDecision {
    /// The limit that the arguments make decides.
    Caller {
        reply: ThrottleReply,
        /// The limit, if the key used another one last or is new.
        other: Option<LimitsRef>,
        is_blocked: bool,
        /// True for a denial after the clock stepped back. It is recorded, so that the rest of a wait
        /// is counted from now.
        stepped_back: bool,
    },
    /// The limits that the server has for the key decide, which go before the caller's.
    Server(AcquireDecision),
}

impl ThrottleDecision {
    pub(super) fn reply(&self) -> ThrottleReply {
        match self {
            Self::Caller { reply, .. } => *reply,
            Self::Server(decision) => answer_of(&decision.reply),
        }
    }
}

impl ThrottleCall<'_> {
    /// Returns the decision of the limit that the arguments make.
    fn by_rule(&self, state: &State, now: Micros) -> ThrottleReply {
        self.rule.ask(&state.arrival(), now, self.quantity, self.rounding)
    }

    /// The limit of the arguments; `None` if it is the key's own last limit.
    fn other(&self, found: KeyView<'_>) -> Result<Option<LimitsRef>, Error> {
        let limit = Limit::throttle(self.rule);
        // The limits are compared first, so that none must be written out and looked up.
        let is_own = |id| matches!(intern::get(found.main, id).limits(), [only] if *only == limit);
        if found.value.and_then(RateLimit::limits_id).is_some_and(is_own) {
            return Ok(None);
        }
        interned(found.main, limit).map(Some)
    }

    /// Decides on the value of a key, without changing it.
    pub(super) fn decide(&self, found: KeyView<'_>) -> Result<ThrottleDecision, Error> {
        if server_decides(found)? {
            let decision = decide_until(found, None, &self.request(), |then| self.wait(then))?;
            return Ok(ThrottleDecision::Server(decision));
        }
        let other = self.other(found)?;
        let state = state_under(found, other.as_ref());
        let mut reply = self.by_rule(&state, found.now);
        let block = found.value.and_then(|value| value.block(found.now));
        if let Some(block) = block {
            reply = self.blocked(&state, reply, block.validity.until(found.now), found.now);
        }
        if let (false, Some(other)) = (reply.limited || self.quantity == 0, &other) {
            found.refuse_too_many(other.get(found.main).limits())?;
        }
        let stepped_back = reply.limited && found.stepped_back();
        Ok(ThrottleDecision::Caller { reply, other, is_blocked: block.is_some(), stepped_back })
    }

    /// Calls `make` with the change that the decision asks for, if there is one, and counts the
    /// decision. A look changes and counts nothing.
    pub(super) fn record(
        &self,
        main: MainThread,
        decision: &ThrottleDecision,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match decision {
            _ if self.quantity == 0 => {}
            ThrottleDecision::Server(decision) => {
                decision.change(main, make)?;
                decision.count(main);
            }
            ThrottleDecision::Caller { reply, other, .. } if !reply.limited => {
                let text = other.as_ref().map(|other| other.text(main));
                let taken = Taken::new([self.quantity]);
                make(RateLimitChange::Take(TakeUnits { limits: text.as_deref(), taken }))?;
            }
            ThrottleDecision::Caller { is_blocked, stepped_back, .. } => {
                if *stepped_back {
                    make(RateLimitChange::Touch(None))?;
                }
                if *is_blocked {
                    metrics::count(main, |m| &mut m.blocked_denied);
                }
            }
        }
        Ok(())
    }

    /// The time that the request waits from `then.now` on if there is no queue.
    pub(super) fn wait(&self, then: KeyView<'_>) -> Result<RetryAfter, Error> {
        if server_decides(then)? {
            let decision = decide_until(then, None, &self.request(), |later| self.wait(later))?;
            return Ok(decision.reply.status.retry);
        }
        let limits = [Limit::throttle(self.rule)];
        let states = match then.value {
            Some(value) => value.seen_by(then.main, &limits, then.now),
            None => vec![State::default()],
        };
        let retry = limits::decide(&limits, &states, then.now, &self.request()).status.retry;
        Ok(ends::across(then, Retry { limits: retry, pinned: false }, |later| self.wait(later)))
    }

    /// The reply on a blocked key. The wait is the longer of those for the block and for the limit.
    fn blocked(&self, state: &State, answer: ThrottleReply, until: Until, now: Micros) -> ThrottleReply {
        let reset_after_s = self.look().by_rule(state, now).reset_after_s;
        let never = answer.limited && answer.retry_after_s < 0;
        let retry_after_s = match until {
            Until::At(end) if !never => signed(seconds(end.since(now))).max(answer.retry_after_s),
            _ => -1,
        };
        ThrottleReply { limited: true, remaining: 0, retry_after_s, reset_after_s, ..answer }
    }
}

/// The state of the call's limit.
fn state_under(found: KeyView<'_>, other: Option<&LimitsRef>) -> State {
    let Some(value) = found.value else { return State::default() };
    let state = match other {
        None => value.with_states(|states| states.first().cloned()),
        Some(other) => value.seen_by(found.main, other.get(found.main).limits(), found.now).pop(),
    };
    state.unwrap_or_default()
}

/// True if the server's limits decide: a pin holds, or callers may not choose limits.
fn server_decides(found: KeyView<'_>) -> Result<bool, Error> {
    if !settings::caller_limits(found.main) {
        return Ok(true);
    }
    if found.value.and_then(|value| value.pin(found.now)).is_none() {
        return Ok(false);
    }
    match found.resolve(None) {
        Ok((_, source)) => Ok(source == Source::Pin),
        // If a pin is passed over, the caller's limits hold.
        Err(Error::NoLimits) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Turns the six integers of our reply into the five of redis-cell's.
fn answer_of(reply: &RateLimitReply) -> ThrottleReply {
    let status = &reply.status;
    let limited = status.retry > RetryAfter::Now;
    ThrottleReply {
        limited,
        limit: status.limit.map_or(i64::MAX, signed),
        remaining: status.remaining.map_or(i64::MAX, signed),
        retry_after_s: seconds_until(status.retry),
        reset_after_s: status.reset.micros().map_or(-1, |us| signed(seconds(us))),
    }
}

/// The whole seconds until a request is granted; -1 for one that is granted, or never is.
pub(super) fn seconds_until(retry: RetryAfter) -> i64 {
    match retry {
        RetryAfter::After(us) => signed(seconds(us)).max(1),
        RetryAfter::Now | RetryAfter::Never => -1,
    }
}

pub(super) fn interned(main: MainThread, limit: Limit) -> Result<LimitsRef, Error> {
    let limits = Limits::new(vec![limit]).map_err(|error| Error::Other(error.to_string()))?;
    Ok(intern::intern(main, limits))
}
