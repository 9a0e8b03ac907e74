//! A call that costs money.

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

/// Of one call, as RL.RECORD takes it.
const MOST_MONEY: f64 = 1e12;

/// Guards calls that cost money:
///
/// 1. With a cache, what it has is the answer, and takes no quota. Of those that miss the
///    same, one makes the call and the others wait for its answer.
/// 2. Breaker and limit are asked in one step: an open breaker uses up no quota, and a call
///    that the limit denies changes nothing of the breaker.
/// 3. The call is made, and its result reported: to the breaker, and as usage of the key
///    (RL.STATS, RL.USAGE), with how long it took and what it cost.
/// 4. The answer is cached. One that JSON cannot hold, or that Redis refuses to keep, is given
///    all the same, with a line in the log.
///
/// On a cluster the key and the breaker's key belong in one slot. While Redis is away the
/// limiter's fallback decides, and each process caches by itself.
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
    /// By this limiter, with the limits that the server has for a key, and this breaker.
    pub fn new(limiter: &Limiter, breaker: &Breaker) -> Self {
        let (limiter, breaker) = (limiter.clone(), breaker.clone());
        Self { limiter, breaker, limits: "*".to_owned(), cache: None, ttl: None }
    }

    /// With these limits.
    #[must_use]
    pub fn limits(mut self, limits: &str) -> Self {
        limits.clone_into(&mut self.limits);
        self
    }

    /// Answers are cached: for ever, unless [`Guard::ttl`] says for how long.
    #[must_use]
    pub fn cache(mut self, cache: &Cache) -> Self {
        self.cache = Some(cache.clone());
        self
    }

    /// For how long answers are cached.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// A call that takes from the limits of this key, and is its usage.
    pub fn of<'a>(&'a self, key: &'a str) -> PaidCall<'a> {
        PaidCall { guard: self, key, cost: 1, cached_as: None, spend: None }
    }
}

/// Why a guarded call gave nothing.
#[derive(Debug)]
pub enum GuardError<E> {
    /// The limits deny it: the call was not made.
    Denied(Decision),
    /// The breaker denies it, or the call failed.
    Call(CallError<E>),
}

impl<E> GuardError<E> {
    /// For the header Retry-After: whole seconds; none where it will never pass.
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

/// A call to be made, by [`Guard::of`].
#[must_use = "it is not made until it is told which"]
pub struct PaidCall<'a> {
    guard: &'a Guard,
    key: &'a str,
    cost: u64,
    cached_as: Option<&'a str>,
    spend: Option<f64>,
}

/// Of CB.ACQUIRE with LIMIT: allowed, state, token, `retry_after_ms`, and what the limit says.
type Answer = (bool, String, Option<String>, i64, Option<Decision>);

impl<'a> PaidCall<'a> {
    /// So many units.
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// What the answer is cached as; it is not cached unless told.
    pub fn cached_as(mut self, name: &'a str) -> Self {
        self.cached_as = Some(name);
        self
    }

    /// What the call costs in money, where that is known before.
    pub fn spend(mut self, money: f64) -> Self {
        self.spend = Some(money);
        self
    }

    /// Makes the call, whose own timeout belongs inside.
    ///
    /// # Errors
    /// The call's own, or why it was not made.
    pub async fn call<T, E>(self, call: impl Future<Output = Result<T, E>>) -> Result<T, GuardError<E>>
    where
        T: Serialize + DeserializeOwned,
    {
        let money = self.spend;
        self.call_spending(call, |_| money).await
    }

    /// The same, where the answer tells what the call cost in money.
    ///
    /// # Errors
    /// The call's own, or why it was not made.
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
        let mut told = self.admitted().await?;
        match call.await {
            Ok(answer) => {
                told.spent = spent(&answer);
                told.outcome(Outcome::Ok).await;
                Ok(answer)
            }
            Err(error) => {
                told.outcome(Outcome::Fail).await;
                Err(GuardError::Call(CallError::Failed(error)))
            }
        }
    }

    async fn admitted<E>(&self) -> Result<Told, GuardError<E>> {
        let Self { guard: Guard { limiter, breaker, limits, .. }, key, cost, .. } = *self;
        let mut asked = redis::cmd("CB.ACQUIRE");
        asked.arg(breaker.key()).arg(breaker.rule());
        asked.arg("LIMIT").arg(key).arg(limits).arg("COST").arg(cost);
        let mut told = Told {
            limiter: limiter.clone(),
            breaker: breaker.key().to_owned(),
            key: key.to_owned(),
            token: None,
            spent: None,
            since: Instant::now(),
            runtime: Handle::current(),
            is_over: true,
        };
        // A call that was admitted and is gone before it knew hands its token and its units back.
        // It names the limits, `*` too, because others may have taken from the key by other limits.
        let (breaker_key, key_of_units) = (told.breaker.clone(), told.key.clone());
        let named = limits.clone();
        let undo = move |(is_allowed, _, token, _, _): &Answer| {
            let mut refund = redis::cmd("RL.REFUND");
            refund.arg(&key_of_units).arg(cost).arg(&named);
            let mut all = vec![refund];
            if let Some(token) = token {
                all.push(report(&breaker_key, Outcome::Ignore, token));
            }
            if *is_allowed { all } else { Vec::new() }
        };
        match limiter.server.take::<Answer>(asked, undo).await {
            Ok((true, _, token, _, _)) => {
                limiter.redis_decided(DecisionOutcome::Granted);
                (told.token, told.since, told.is_over) = (token, Instant::now(), false);
                Ok(told)
            }
            // Denied by the limit; where it grants, the breaker lets nobody pass.
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
                if alone.is_granted() {
                    told.is_over = false;
                    Ok(told)
                } else {
                    Err(GuardError::Denied(alone))
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A call that is made, and is told once, however it ends. Dropped without a word it says
/// nothing of the callee, but in a panic, which is a failure.
struct Told {
    limiter: Limiter,
    breaker: String,
    key: String,
    /// None while Redis is away.
    token: Option<String>,
    spent: Option<f64>,
    since: Instant,
    runtime: Handle,
    is_over: bool,
}

impl Told {
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

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(Outcome::of_dropped());
    }
}

fn report(breaker: &str, outcome: Outcome, token: &str) -> Cmd {
    let mut report = redis::cmd("CB.REPORT");
    report.arg(breaker).arg(outcome.word()).arg("TOKEN").arg(token);
    report
}
