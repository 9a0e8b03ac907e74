//! One limit as one requester sees it.

use super::decision::{LimitStatus, ResetAfter};
use super::limit::Limit;
use super::request::Request;
use super::state::State;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// One limit as one requester sees it.
#[derive(Clone, Copy)]
pub(super) struct LimitView {
    /// The units in use.
    pub used: u64,
    /// The units that the requester may use.
    usable: u64,
    /// The end of its block, if one lasts.
    closed_until: Option<Micros>,
}

impl LimitView {
    pub const NONE: Self = Self { used: 0, usable: 0, closed_until: None };

    #[inline]
    pub fn of(limit: &Limit, capacity: u64, used: u64, critical: bool) -> Self {
        let usable = if critical { capacity } else { limit.keep().usable(capacity) };
        Self { used, usable, closed_until: None }
    }

    /// The same view, with the block of the limit's state.
    pub fn with_block(self, state: &State, now: Micros) -> Self {
        Self { closed_until: state.block().and_then(|block| block.lasts_until(now)), ..self }
    }

    /// The units that are left for the requester.
    pub const fn room(self) -> u64 {
        match self.closed_until {
            None => self.free(),
            Some(_) => 0,
        }
    }

    /// The units of `capacity` that are kept from the requester.
    pub const fn kept(self, capacity: u64) -> u64 {
        capacity.saturating_sub(self.usable)
    }

    /// The time until the request fits and no block lasts.
    pub fn wait(self, limit: &Limit, state: &State, now: Micros, demand: u64) -> RetryAfter {
        let units = self.units_wait(limit, state, now, demand);
        self.closed_until.map_or(units, |end| units.max(RetryAfter::until(end, now)))
    }

    /// The units that would be left if no block lasted.
    #[inline]
    pub const fn free(self) -> u64 {
        self.usable.saturating_sub(self.used)
    }

    /// The time until `demand` fits.
    #[inline]
    pub fn units_wait(self, limit: &Limit, state: &State, now: Micros, demand: u64) -> RetryAfter {
        if demand <= self.free() {
            return RetryAfter::Now;
        }
        let Some(target) = self.usable.checked_sub(demand) else { return RetryAfter::Never };
        match limit.rule().falls_to(state, now, target) {
            Micros::NEVER => RetryAfter::Never,
            at => RetryAfter::After(at.since(now)),
        }
    }

    /// The status of the limit after the call. `taken` units are taken; those in use contain them.
    #[inline]
    pub fn status(
        self,
        limit: &Limit,
        state: &State,
        now: Micros,
        retry: RetryAfter,
        taken: u64,
    ) -> LimitStatus {
        let reset = ResetAfter::of(limit, state, now, taken);
        LimitStatus { limit: limit.capacity(), remaining: Some(self.room()), retry, reset }
    }

    /// True if the limit denies the request because it lacks units that will come back, and its
    /// options say that it closes then. `wait` is the time until the units are back.
    #[inline]
    pub fn closes(
        self,
        limit: &Limit,
        state: &State,
        now: Micros,
        request: &Request,
        wait: RetryAfter,
    ) -> bool {
        limit.closing().is_some()
            && matches!(wait, RetryAfter::After(_))
            // A denial by `keep` alone lacks no units.
            && limit.capacity().is_some_and(|all| self.used.saturating_add(request.least(limit)) > all)
            && !state.block().is_some_and(|block| block.covers(now))
    }
}

/// One limit as `RL.QUOTA` shows it to a requester that is not critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitQuota {
    /// The capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// The whole units in use. They exceed the capacity after debt or a smaller count.
    pub used: u64,
    /// The whole units that would be granted now; `None` for unlimited.
    pub remaining: Option<u64>,
    /// The time until this limit would grant a request of the cost.
    pub retry: RetryAfter,
    /// The time until it is full if nobody asks.
    pub reset: ResetAfter,
}

/// Looks at one limit, for a request of `cost` units. The cost is 1 if the limit counts calls.
///
/// ```
/// use floodgate::core::limits::{Limits, State, limit_quota};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"bucket:10/s:burst=50").unwrap();
/// let seen = limit_quota(&limits.as_slice()[0], &State::default(), Micros(0), 1);
/// assert_eq!((seen.limit, seen.remaining, seen.reset.millis()), (Some(50), Some(50), 0));
/// ```
pub fn limit_quota(limit: &Limit, state: &State, now: Micros, cost: u64) -> LimitQuota {
    let Some(capacity) = limit.capacity() else {
        return LimitQuota {
            limit: None,
            used: 0,
            remaining: None,
            retry: RetryAfter::Now,
            reset: ResetAfter::NOW,
        };
    };
    let view = LimitView::of(limit, capacity, limit.rule().used(state, now), false).with_block(state, now);
    LimitQuota {
        limit: Some(capacity),
        used: view.used,
        remaining: Some(view.room()),
        retry: view.wait(limit, state, now, Request::of(cost).least(limit)),
        reset: ResetAfter::of(limit, state, now, 0),
    }
}
