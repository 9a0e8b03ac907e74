//! A look at one limit.

use super::limit_view::LimitView;
use super::request::Request;
use super::reset_after::ResetAfter;
use super::rule::State;
use super::spec::Limit;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// One limit as `RL.QUOTA` shows it to a requester that is not critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitQuota {
    /// The capacity; `None` for unlimited.
    pub limit: Option<u64>,
    /// The whole units in use. For a bucket they never exceed its capacity; for other limits they
    /// may, after debt or a smaller count.
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
        used: if limit.rule().refills() { view.used.min(capacity) } else { view.used },
        remaining: Some(view.room()),
        retry: view.wait(limit, state, now, Request::of(cost).least(limit)),
        reset: ResetAfter::of(limit, state, now, 0),
    }
}
