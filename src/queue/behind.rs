//! The answer to a request that comes while others wait: denied, with the time at
//! which the queue will have been served.

use super::forecast::Forecast;
use super::request;
use super::state::{place, with};
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::queue::request::QueuedRequest;
use crate::queue::state::DbKey;
use crate::server::context::Context;
use crate::server::keys::key::ReadKey;
use crate::types::ratelimit::RateLimit;

/// The denial of a request on a key where a line stands.
pub(super) fn behind(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    ask: &QueuedRequest,
    now: Micros,
) -> Result<request::QueuedDecision, Error> {
    let place = place(ctx, key.name());
    let held = key.value::<RateLimit>()?;
    behind_at(ctx, &place, held.as_deref(), ask, now)
}

pub(super) fn behind_at(
    ctx: &Context<'_>,
    place: &DbKey,
    value: Option<&RateLimit>,
    ask: &QueuedRequest,
    now: Micros,
) -> Result<request::QueuedDecision, Error> {
    let decision = ask.decide(ctx, &place.1, value, now)?;
    if decision.reply().status.retry == RetryAfter::Never {
        return Ok(decision);
    }
    let status = ask.status_only(ctx, &place.1, value, &decision, now)?;
    let retry = forecast(ctx, place, value, now, |forecast| forecast.retry(ctx, &place.1, ask, now));
    let status = LimitStatus { remaining: Some(0), retry, ..status };
    Ok(decision.denied(RateLimitReply { granted: 0, status, index: Index::Line }))
}

/// Asks how the key will be when its line has been served.
pub(super) fn forecast<R>(
    ctx: &Context<'_>,
    place: &DbKey,
    value: Option<&RateLimit>,
    now: Micros,
    ask: impl FnOnce(&Forecast) -> R,
) -> R {
    with(ctx.main(), |queues| {
        let known = queues.by_key.forecast(place).and_then(Option::take);
        let mut forecast = known.unwrap_or_else(|| Forecast::new(value, now));
        for (ticket, waiter) in queues.by_key.after(place, forecast.last()) {
            forecast.add(ctx, &place.1, ticket, &waiter.ask);
        }
        let answer = ask(&forecast);
        if let Some(slot) = queues.by_key.forecast(place) {
            *slot = Some(forecast);
        }
        answer
    })
}
