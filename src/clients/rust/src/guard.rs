//! Calls that cost money.

use std::fmt;
use std::time::{Duration, Instant};

use redis::Cmd;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::breaker::{Breaker, CallError, Outcome};
use crate::cache::{Cache, Missing};
use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::telemetry::{self, CallOutcome, DecisionOutcome};

/// The most money that RL.RECORD takes for one call.
const MOST_MONEY: f64 = 1e12;

/// Guards calls that cost money, in these steps:
///
/// 1. If there is a cache and it has the answer, that is returned and no quota is taken. Of several
///    callers that miss the same answer, one makes the call and the others wait for it.
/// 2. Breaker and limit are asked in one step. So an open breaker uses up no quota, and a call that
///    the limit denies changes nothing of the breaker.
/// 3. The call is made. Its result is reported to the breaker, and recorded as usage of the key
///    (RL.STATS, RL.USAGE) with its duration and its price.
/// 4. The answer is cached. An answer that JSON cannot hold, or that Redis refuses to keep, is
///    returned all the same, and a line is logged.
///
/// On a cluster the key and the breaker's key belong in one slot. While Redis is away the limiter's
/// fallback decides, and each process caches by itself.
///
/// ```no_run
/// # async fn example(
/// #     limiter: floodgate_redis::Limiter,
/// #     breaker: floodgate_redis::Breaker,
/// #     cache: floodgate_redis::Cache,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// # async fn model(question: &str) -> Result<String, std::io::Error> { Ok(question.into()) }
/// let guard = floodgate_redis::Guard::new(&limiter, &breaker).limits("1000/d").cache(&cache);
/// let answer = guard.of("ann").cached_as("1+1?").spend(0.0125).call(model("1+1?")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Guard {
    limiter: Limiter,
    breaker: Breaker,
    limits: String,
    cache: Option<Cache>,
    ttl: Option<Duration>,
}

impl Guard {
    /// Makes a guard with this limiter and this breaker. Without [`Guard::limits`] those limits hold
    /// that the server has for the key.
    pub fn new(limiter: &Limiter, breaker: &Breaker) -> Self {
        let (limiter, breaker) = (limiter.clone(), breaker.clone());
        Self { limiter, breaker, limits: "*".to_owned(), cache: None, ttl: None }
    }

    /// Sets the limits of each call.
    #[must_use]
    pub fn limits(mut self, limits: &str) -> Self {
        limits.clone_into(&mut self.limits);
        self
    }

    /// Sets the cache of answers. They are kept for ever, unless [`Guard::ttl`] sets a time.
    #[must_use]
    pub fn cache(mut self, cache: &Cache) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// Sets how long answers are cached.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Prepares a call that takes from the limits of this key, and counts as its usage.
    pub fn of<'a>(&'a self, key: &'a str) -> PaidCall<'a> {
        PaidCall { guard: self, key, cost: 1, cached_as: None, spend: None }
    }
}

/// The reason why a guarded call gave no value.
#[derive(Debug)]
pub enum GuardError<E> {
    /// The limits deny the call, so it was not made.
    Denied(Decision),
    /// The breaker denies the call, or the call failed.
    Call(CallError<E>),
}

impl<E> GuardError<E> {
    /// Returns the value of the header `Retry-After` in whole seconds. `None` if the call will never be
    /// admitted.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Denied(decision) => decision.retry_after_s(),
            Self::Call(error) => error.retry_after_s(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for GuardError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(Decision { retry_after_ms: ..0, .. }) => write!(out, "denied: it never fits"),
            Self::Denied(decision) => write!(out, "denied, retry after {} ms", decision.retry_after_ms),
            Self::Call(error) => error.fmt(out),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GuardError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(_) => None,
            Self::Call(error) => error.source(),
        }
    }
}

impl<E> From<Error> for GuardError<E> {
    fn from(error: Error) -> Self {
        Self::Call(CallError::Undecided(error))
    }
}

/// A call to be made. [`Guard::of`] prepares it.
#[must_use = "it is not made until it is told which"]
pub struct PaidCall<'a> {
    guard: &'a Guard,
    key: &'a str,
    cost: u64,
    cached_as: Option<&'a str>,
    spend: Option<f64>,
}

/// The reply of CB.ACQUIRE with LIMIT: allowed, state, token, `retry_after_ms`, and the decision of the
/// limit.
type GuardReply = (bool, String, Option<String>, i64, Option<Decision>);

impl<'a> PaidCall<'a> {
    /// Sets the number of units that the call takes (1).
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// Sets the key under which the answer is cached. Without it the answer is not cached.
    pub fn cached_as(mut self, name: &'a str) -> Self {
        self.cached_as = Some(name);
        self
    }

    /// Sets the price of the call, if it is known before.
    pub fn spend(mut self, money: f64) -> Self {
        self.spend = Some(money);
        self
    }

    /// Makes the call. The call's own timeout belongs inside.
    ///
    /// # Errors
    /// Fails with the call's own error, or with the reason why the call was not made.
    pub async fn call<T, E>(self, call: impl Future<Output = Result<T, E>>) -> Result<T, GuardError<E>>
    where
        T: Serialize + DeserializeOwned,
    {
        let money = self.spend;
        self.call_spending(call, |_| money).await
    }

    /// Does what [`PaidCall::call`] does; `spent` reads the price of the call from its answer.
    ///
    /// # Errors
    /// Fails with the call's own error, or with the reason why the call was not made.
    pub async fn call_spending<T, E>(
        self,
        call: impl Future<Output = Result<T, E>>,
        spent: impl FnOnce(&T) -> Option<f64>,
    ) -> Result<T, GuardError<E>>
    where
        T: Serialize + DeserializeOwned,
    {
        let Guard { limiter, cache, ttl, .. } = self.guard;
        let (Some(cache), Some(name)) = (cache, self.cached_as) else { return self.paid(call, spent).await };
        let place = match cache.wait_for::<T>(name).await? {
            Missing::Found(answer) => {
                telemetry::called(CallOutcome::Cached);
                let mut record = redis::cmd("RL.RECORD");
                record.arg(self.key).arg("OK").arg("CACHED");
                let _ = limiter.server.finish(&Handle::current(), record).await; // it does not fail
                return Ok(answer);
            }
            Missing::Mine(place) => place,
        };
        let answer = self.paid(call, spent).await?;
        cache.made(name, &answer, *ttl, place).await;
        Ok(answer)
    }

    async fn paid<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        spent: impl FnOnce(&T) -> Option<f64>,
    ) -> Result<T, GuardError<E>> {
        let mut call_in_flight = self.admitted().await?;
        match call.await {
            Ok(answer) => {
                call_in_flight.spent = spent(&answer);
                call_in_flight.outcome(Outcome::Ok).await;
                Ok(answer)
            }
            Err(error) => {
                call_in_flight.outcome(Outcome::Fail).await;
                Err(GuardError::Call(CallError::Failed(error)))
            }
        }
    }

    /// Asks whether the call may be made.
    async fn admitted<E>(&self) -> Result<CallInFlight, GuardError<E>> {
        let Self { guard: Guard { limiter, .. }, key, cost, .. } = *self;
        match self.asked().await {
            Ok((true, _, token, _, _)) => {
                limiter.redis_decided(DecisionOutcome::Granted);
                Ok(self.begun(token))
            }
            // The limit denies. Where it grants, the breaker lets nobody pass.
            Ok((false, _, _, _, Some(decision))) if !decision.is_granted() => {
                limiter.redis_decided(DecisionOutcome::Denied);
                Err(GuardError::Denied(decision))
            }
            Ok((false, _, _, retry_after_ms, _)) => {
                telemetry::called(CallOutcome::Open);
                Err(GuardError::Call(CallError::Open { retry_after_ms }))
            }
            Err(Error::Away) => {
                let alone = limiter.alone(key, cost);
                if alone.is_granted() { Ok(self.begun(None)) } else { Err(GuardError::Denied(alone)) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks breaker and limit in one step. If the caller is gone before the answer comes, the call
    /// hands its token and its units back.
    async fn asked(&self) -> Result<GuardReply, Error> {
        let Self { guard: Guard { limiter, breaker, limits, .. }, key, cost, .. } = *self;
        let mut acquire = redis::cmd("CB.ACQUIRE");
        acquire.arg(breaker.key()).arg(breaker.rule());
        acquire.arg("LIMIT").arg(key).arg(limits).arg("COST").arg(cost);
        // The refund names the limits, `*` too, because others may have taken from the key by other
        // limits.
        let mut refund = redis::cmd("RL.REFUND");
        refund.arg(key).arg(cost).arg(limits);
        let breaker = breaker.key().to_owned();
        let undo = move |(is_allowed, _, token, _, _): &GuardReply| {
            if !is_allowed {
                return Vec::new();
            }
            let ignored = token.as_ref().map(|token| report(&breaker, Outcome::Ignore, token));
            std::iter::once(refund.clone()).chain(ignored).collect()
        };
        limiter.server.take(acquire, undo).await
    }

    /// The call, which is made from now on.
    fn begun(&self, token: Option<String>) -> CallInFlight {
        let Guard { limiter, breaker, .. } = self.guard;
        CallInFlight {
            limiter: limiter.clone(),
            breaker: breaker.key().to_owned(),
            key: self.key.to_owned(),
            token,
            spent: None,
            since: Instant::now(),
            runtime: Handle::current(),
            is_over: false,
        }
    }
}

/// A call that is being made. It is reported once, however it ends. If it is dropped before, the
/// report says nothing of the callee, except after a panic, which counts as a failure.
struct CallInFlight {
    limiter: Limiter,
    breaker: String,
    key: String,
    /// The token of the breaker; `None` while Redis is away.
    token: Option<String>,
    spent: Option<f64>,
    since: Instant,
    runtime: Handle,
    is_over: bool,
}

impl CallInFlight {
    async fn outcome(mut self, outcome: Outcome) {
        for told in self.tell(outcome) {
            let _ = told.await; // it does not fail
        }
    }

    fn tell(&mut self, outcome: Outcome) -> Vec<JoinHandle<()>> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        telemetry::called(outcome.into());
        let took = format!("{}ms", self.since.elapsed().as_millis());
        let mut all = Vec::new();
        if let Some(token) = self.token.take() {
            let mut report = report(&self.breaker, outcome, &token);
            report.arg("DUR").arg(&took);
            all.push(report);
        }
        if !matches!(outcome, Outcome::Ignore) {
            let mut record = redis::cmd("RL.RECORD");
            record.arg(&self.key).arg(outcome.word());
            if let Some(spent) = self.spent {
                if spent.abs() <= MOST_MONEY {
                    record.arg("SPEND").arg(spent.to_string());
                } else {
                    log::warn!("what a call of {:?} cost is not recorded: {spent}", self.key);
                }
            }
            record.arg("DUR").arg(&took);
            all.push(record);
        }
        all.into_iter().map(|told| self.limiter.server.finish(&self.runtime, told)).collect()
    }
}

impl Drop for CallInFlight {
    fn drop(&mut self) {
        self.tell(Outcome::of_dropped());
    }
}

fn report(breaker: &str, outcome: Outcome, token: &str) -> Cmd {
    let mut report = redis::cmd("CB.REPORT");
    report.arg(breaker).arg(outcome.word()).arg("TOKEN").arg(token);
    report
}
