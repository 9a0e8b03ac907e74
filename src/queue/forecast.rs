//! When a line will have been served: it is played through on a copy of the key,
//! with the very code that will serve it.

use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterId;
use crate::limiter::Error;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::server::context::Context;
use crate::types::effect::ratelimit::{AppliedRateLimit, RateLimitEffect};
use crate::types::ratelimit::RateLimit;

/// A key as it will be when the waiters up to one have been served.
#[derive(Debug)]
pub struct Forecast {
    value: Option<RateLimit>,
    at: Micros,
    last: WaiterId,
}

impl Forecast {
    /// Before anybody is served.
    pub fn new(value: Option<&RateLimit>, now: Micros) -> Self {
        Self { value: value.map(RateLimit::simulation), at: now, last: 0 }
    }

    /// The last waiter that it counts; 0 for none.
    pub const fn last(&self) -> WaiterId {
        self.last
    }

    /// Serves one more.
    pub fn add(&mut self, ctx: &Context<'_>, key: &[u8], ticket: WaiterId, ask: &QueuedRequest) {
        self.last = ticket;
        // Who cannot be served is sent away and takes nothing.
        let Ok(first) = ask.decide(ctx, key, self.value.as_ref(), self.at) else { return };
        match first.reply().status.retry {
            RetryAfter::Never => {}
            RetryAfter::Now => self.grant(ctx, ask, &first),
            RetryAfter::After(us) => {
                self.at = self.at.plus(us);
                if let Ok(decision) = ask.decide(ctx, key, self.value.as_ref(), self.at) {
                    self.grant(ctx, ask, &decision);
                }
            }
        }
    }

    fn grant(&mut self, ctx: &Context<'_>, ask: &QueuedRequest, decision: &QueuedDecision) {
        if decision.reply().granted == 0 {
            return;
        }
        let main = ctx.main();
        // What does not fit is left out, as when it is served.
        let _ = ask.change(main, decision, self.at, |change| {
            let effect = RateLimitEffect { now: self.at, expires: false, change };
            let applied =
                effect.apply(main, self.value.as_mut()).map_err(|bad| Error::Other(bad.to_string()))?;
            if let AppliedRateLimit::Created(value, _) = applied {
                self.value = Some(value.simulation());
            }
            Ok(())
        });
    }

    /// When the last of them has been served.
    pub const fn served_at(&self) -> Micros {
        self.at
    }

    /// How long until a request would be granted behind the line.
    pub fn retry(&self, ctx: &Context<'_>, key: &[u8], ask: &QueuedRequest, now: Micros) -> RetryAfter {
        let at = self.at.max(now);
        let retry = ask
            .decide(ctx, key, self.value.as_ref(), at)
            .map_or(RetryAfter::Now, |decision| decision.reply().status.retry);
        match retry {
            RetryAfter::Now => RetryAfter::After(at.since(now).max(1)),
            RetryAfter::After(us) => RetryAfter::After(at.since(now).saturating_add(us)),
            RetryAfter::Never => RetryAfter::Never,
        }
    }
}
