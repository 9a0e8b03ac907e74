//! The denial of a request that comes while others wait. It says when the queue will have been
//! served.

use super::forecast::Forecast;
use super::state::{class, with};
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::limiter::Error;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::KeyView;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::queue::state::DbKey;

/// The denial of a request on a key with a queue.
pub(super) fn behind_at(
    found: KeyView<'_>,
    db_key: &DbKey,
    queued: &QueuedRequest<'_>,
) -> Result<QueuedDecision, Error> {
    let decision = queued.decide(found)?;
    if decision.reply().status.retry == RetryAfter::Never {
        return Ok(decision);
    }
    let status = queued.status_only(found, &decision)?;
    let retry = retry_at(found, db_key, queued.request().critical, |then| {
        Ok(queued.decide(then)?.reply().status.retry)
    });
    let status = LimitStatus { remaining: Some(0), retry, ..status };
    Ok(decision.denied(RateLimitReply { granted: 0, status, index: Index::Queue }))
}

/// The time until a request is granted after those in the queue of its key whom it may not overtake.
/// `retry` decides the request, as for [`Forecast::retry`].
pub(super) fn retry_at(
    found: KeyView<'_>,
    db_key: &DbKey,
    critical: bool,
    retry: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let class = class(critical);
    with(found.main, |queues| {
        let known = queues.waiters.forecast(db_key, class).and_then(Option::take);
        let mut forecast = known.unwrap_or_else(|| Forecast::new(found));
        for (place, waiter) in queues.waiters.ahead_of(db_key, class, forecast.last()) {
            forecast.add(found, place, &waiter.queued, waiter.ends(found.main));
        }
        let answer = forecast.retry(found, retry);
        if let Some(slot) = queues.waiters.forecast(db_key, class) {
            *slot = Some(forecast);
        }
        answer
    })
}
