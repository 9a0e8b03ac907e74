//! Forecasts of when a queue will have been served. They serve a copy of the key, with the same
//! code that will serve the queue.

use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::QueuePlace;
use crate::limiter::Error;
use crate::limiter::ends::try_out;
use crate::limiter::resolve::KeyView;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::server::main_thread::MainThread;
use crate::types::ratelimit::RateLimit;

/// The forecast of a key after the waiters up to one have been served.
#[derive(Debug)]
pub struct Forecast {
    value: Option<RateLimit>,
    at: Micros,
    last: Option<QueuePlace>,
}

impl Forecast {
    /// A forecast before any waiter is served.
    pub fn new(found: KeyView<'_>) -> Self {
        Self { value: found.value.map(RateLimit::simulation), at: found.now, last: None }
    }

    /// The value of the key then.
    pub const fn value(&self) -> Option<&RateLimit> {
        self.value.as_ref()
    }

    /// A copy, to go on from here.
    pub fn copy(&self) -> Self {
        Self { value: self.value.as_ref().map(RateLimit::simulation), ..*self }
    }

    /// The time at which the last waiter is served, or its wait ends.
    pub const fn at(&self) -> Micros {
        self.at
    }

    /// The key as it will be at `at`, as far as the forecast goes.
    fn key<'v>(&'v self, found: KeyView<'v>, at: Micros) -> KeyView<'v> {
        found.at(self.value.as_ref(), at)
    }

    /// The place of the last waiter that it has served.
    pub const fn last(&self) -> Option<QueuePlace> {
        self.last
    }

    /// Serves one more waiter, unless its wait has ended by `ends` without a grant. Returns false if it
    /// is still there at `by`.
    pub fn add(
        &mut self,
        found: KeyView<'_>,
        place: QueuePlace,
        queued: &QueuedRequest<'_>,
        ends: Option<Micros>,
        by: Micros,
    ) -> bool {
        let (at, grant) = self.leaves(found, queued, ends);
        if at > by {
            return false;
        }
        (self.last, self.at) = (Some(place), at);
        if let Some(decision) = grant {
            self.grant(found.main, queued, &decision);
        }
        true
    }

    /// When the head leaves the queue, and with which grant.
    fn leaves(
        &self,
        found: KeyView<'_>,
        queued: &QueuedRequest<'_>,
        ends: Option<Micros>,
    ) -> (Micros, Option<QueuedDecision>) {
        let from = self.at.max(found.now);
        let in_time = |at: Micros| ends.is_none_or(|ends| at < ends);
        if !in_time(from) {
            return (from, None);
        }
        // A request that can never be granted leaves the queue without taking units.
        let Ok(first) = queued.decide(self.key(found, from)) else { return (from, None) };
        match first.reply().status.retry {
            RetryAfter::Never => (from, None),
            RetryAfter::Now => (from, Some(first)),
            RetryAfter::After(us) if in_time(from.plus(us)) => {
                let at = from.plus(us);
                (at, queued.decide(self.key(found, at)).ok())
            }
            RetryAfter::After(_) => (ends.unwrap_or(from), None),
        }
    }

    fn grant(&mut self, main: MainThread, queued: &QueuedRequest<'_>, decision: &QueuedDecision) {
        if decision.reply().granted == 0 {
            return;
        }
        // A change that does not fit is left out, as it is when the queue is served.
        let _ = queued.change(main, decision, self.at, |change| {
            try_out(main, &mut self.value, self.at, change).map(drop)
        });
    }

    /// The time from `asked` on until a request behind the queue would be granted. `retry` decides the
    /// request on the key as the queue leaves it: it returns the time until the request is granted from
    /// then on.
    pub fn retry(
        &self,
        found: KeyView<'_>,
        asked: Micros,
        retry: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) -> RetryAfter {
        let at = self.at.max(asked);
        match retry(self.key(found, at)).unwrap_or(RetryAfter::Now) {
            RetryAfter::Now => RetryAfter::until(at, asked),
            RetryAfter::After(us) => RetryAfter::After(at.since(asked).saturating_add(us)),
            RetryAfter::Never => RetryAfter::Never,
        }
    }
}
