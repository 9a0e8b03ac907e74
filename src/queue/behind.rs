//! The decision on a request that comes while others wait. A denial says when the request is granted
//! if nobody else asks: those who wait have asked already.

use super::forecast::Forecast;
use super::state::{Queues, Waiter, is_behind_at, with};
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::{QueuePlace, WaiterClass, WaiterId};
use crate::limiter::Error;
use crate::limiter::ends::is_before;
use crate::limiter::reply::{Index, RateLimitReply};
use crate::limiter::resolve::KeyView;
use crate::queue::request::{CorrectableDecision, QueuedDecision, QueuedRequest};
use crate::types::db_key::DbKey;
use crate::types::ratelimit::RateLimit;

/// Decides a request that may wait, on a key with a queue: see [`QueueAhead::decide`].
pub(super) fn decide_at(
    found: KeyView<'_>,
    db_key: &DbKey,
    queued: &QueuedRequest<'_>,
) -> Result<QueuedDecision, Error> {
    QueueAhead { found, db_key, class: queued.class(), keeps: true }
        .decide(|then| queued.decide(then), |decision| queued.status_only(found, decision))
}

/// A key and its queue, as a request finds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueAhead<'v> {
    pub(super) found: KeyView<'v>,
    pub(super) db_key: &'v DbKey,
    /// The class of the request. A critical one may overtake ordinary waiters.
    pub(super) class: WaiterClass,
    /// True if `found` has what the key holds. A forecast of that is kept for the next request.
    pub(super) keeps: bool,
}

impl QueueAhead<'_> {
    /// Decides a request by `decide`. It is denied if somebody waits whom it may not overtake. Its reply
    /// then has the status that `status_only` returns: that of the limit that binds it, while nothing is
    /// taken.
    pub(super) fn decide<D: CorrectableDecision>(
        self,
        decide: impl Fn(KeyView<'_>) -> Result<D, Error>,
        status_only: impl FnOnce(&D) -> Result<LimitStatus, Error>,
    ) -> Result<D, Error> {
        let Self { found, db_key, class, .. } = self;
        let mut decision = decide(found)?;
        let RateLimitReply { granted, status, .. } = decision.reply();
        if status.retry == RetryAfter::Never {
            return Ok(decision);
        }
        let retry = |then: KeyView<'_>| Ok(decide(then)?.reply().status.retry);
        if is_behind_at(found.main, db_key, class, found.now) {
            let status = status_only(&decision)?;
            let status = LimitStatus { remaining: Some(0), retry: self.retry(found.now, retry), ..status };
            return Ok(decision.denied(RateLimitReply { granted: 0, status, index: Index::Queue }));
        }
        if granted == 0 && class == WaiterClass::Critical {
            // Those whom it may overtake take units while it waits for its own.
            decision.correct_retry(found, |closed| {
                QueueAhead { found: closed, db_key, class, keeps: false }.retry(found.now, retry)
            });
        }
        Ok(decision)
    }

    /// The time from `asked` on until the request is granted, after those who take units before.
    /// `retry` decides the request, as for [`Forecast::retry`].
    pub(super) fn retry(
        self,
        asked: Micros,
        retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) -> RetryAfter {
        let wait = self.with_forecast(|queues, forecast| match self.class {
            WaiterClass::Critical => self.retry_beside(queues, forecast.copy(), asked, retry),
            WaiterClass::Ordinary => forecast.retry(self.found, asked, retry),
        });
        // A request that is denied now is not told to come back at once.
        if asked == self.found.now { wait.max(RetryAfter::After(1)) } else { wait }
    }

    /// The value of the key at `at`, when those have left who take units before the request.
    pub(super) fn value_at(self, at: Micros) -> Option<RateLimit> {
        self.with_forecast(|queues, forecast| {
            let mut forecast = forecast.copy();
            if self.class == WaiterClass::Critical {
                let mut overtaken = self.overtaken(queues);
                while overtaken.next().is_some_and(|waiter| self.serve(&mut forecast, waiter, at)) {}
            }
            forecast.value().map(RateLimit::simulation)
        })
    }

    /// Runs `look` on the forecast of the key after those whom the request may not overtake.
    fn with_forecast<R>(self, look: impl FnOnce(&Queues, &Forecast) -> R) -> R {
        let class = self.class;
        with(self.found.main, |queues| {
            let slot = queues.waiters.forecast(self.db_key, class).filter(|_| self.keeps);
            let mut forecast = slot.and_then(Option::take).unwrap_or_else(|| Forecast::new(self.found));
            for waiter in queues.waiters.ahead_of(self.db_key, class, forecast.last()) {
                self.serve(&mut forecast, waiter, Micros::NEVER);
            }
            let answer = look(queues, &forecast);
            if let Some(slot) = queues.waiters.forecast(self.db_key, class).filter(|_| self.keeps) {
                *slot = Some(forecast);
            }
            answer
        })
    }

    fn serve(self, forecast: &mut Forecast, (place, waiter): (QueuePlace, &Waiter), by: Micros) -> bool {
        forecast.add(self.found, place, &waiter.queued, waiter.ends(self.found.main), by)
    }

    /// Lists the waiters whom a critical request may overtake.
    fn overtaken(self, queues: &Queues) -> impl Iterator<Item = (QueuePlace, &Waiter)> {
        let critical = Some((WaiterClass::Critical, WaiterId::MAX));
        queues.waiters.ahead_of(self.db_key, WaiterClass::Ordinary, critical)
    }

    /// The time from `asked` on until a critical request is granted. `forecast` is that of the key
    /// after the critical waiters. Of the request and the others, who can have its units first takes
    /// them.
    fn retry_beside(
        self,
        queues: &Queues,
        mut forecast: Forecast,
        asked: Micros,
        retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) -> RetryAfter {
        for waiter in self.overtaken(queues) {
            let before = forecast.retry(self.found, asked, &retry);
            self.serve(&mut forecast, waiter, Micros::NEVER);
            let leaves = forecast.at();
            if asked < leaves && is_before(before, leaves, asked) {
                return before;
            }
        }
        forecast.retry(self.found, asked, retry)
    }
}
