//! The decision on a request that comes while others wait. A denial says when the request is granted
//! if nobody else asks: those who wait have asked already.

use super::forecast::Forecast;
use super::state::{Queues, class, is_behind_at, with};
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::wait_queue::{WaiterClass, WaiterId};
use crate::limiter::Error;
use crate::limiter::ends::is_before;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::KeyView;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::queue::state::DbKey;

/// Decides a request on a key with a queue. It is denied if somebody waits whom it may not overtake.
pub(super) fn decide_at(
    found: KeyView<'_>,
    db_key: &DbKey,
    queued: &QueuedRequest,
) -> Result<QueuedDecision, Error> {
    let mut decision = queued.decide(found)?;
    let RateLimitReply { granted, status, .. } = decision.reply();
    if status.retry == RetryAfter::Never {
        return Ok(decision);
    }
    let retry = |then: KeyView<'_>| Ok(queued.decide(then)?.reply().status.retry);
    if is_behind_at(found.main, db_key, queued.critical(), found.now) {
        let status = queued.status_only(found, &decision)?;
        let retry = retry_at(found, db_key, queued.critical(), retry);
        let status = LimitStatus { remaining: Some(0), retry, ..status };
        return Ok(decision.denied(RateLimitReply { granted: 0, status, index: Index::Queue }));
    }
    if granted == 0 && queued.critical() {
        // Those whom it may overtake take units while it waits for its own.
        decision.correct_retry(found, |found| {
            with(found.main, |queues| retry_beside(queues, Forecast::new(found), found, db_key, retry))
        });
    }
    Ok(decision)
}

/// The time until a request is granted after those in the queue of its key whom it may not overtake.
/// `retry` decides the request, as for [`Forecast::retry`].
pub(super) fn retry_at(
    found: KeyView<'_>,
    db_key: &DbKey,
    critical: bool,
    retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let class = class(critical);
    with(found.main, |queues| {
        let known = queues.waiters.forecast(db_key, class).and_then(Option::take);
        let mut forecast = known.unwrap_or_else(|| Forecast::new(found));
        for (place, waiter) in queues.waiters.ahead_of(db_key, class, forecast.last()) {
            forecast.add(found, place, &waiter.queued, waiter.ends(found.main));
        }
        let answer = if critical {
            retry_beside(queues, forecast.copy(), found, db_key, retry)
        } else {
            forecast.retry(found, retry)
        };
        if let Some(slot) = queues.waiters.forecast(db_key, class) {
            *slot = Some(forecast);
        }
        answer
    })
}

/// The time until a critical request is granted. `forecast` is that of the key after the critical
/// waiters. The request overtakes the others, but who has its units first takes them first.
fn retry_beside(
    queues: &Queues,
    mut forecast: Forecast,
    found: KeyView<'_>,
    db_key: &DbKey,
    retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let critical = Some((WaiterClass::Critical, WaiterId::MAX));
    for (place, waiter) in queues.waiters.ahead_of(db_key, WaiterClass::Ordinary, critical) {
        let before = forecast.retry(found, &retry);
        forecast.add(found, place, &waiter.queued, waiter.ends(found.main));
        if is_before(before, forecast.at(), found.now) {
            return before;
        }
    }
    forecast.retry(found, retry)
}
