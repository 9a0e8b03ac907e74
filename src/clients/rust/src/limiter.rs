//! The limiter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::acquire::Acquire;
use crate::charge::Charge;
use crate::decision::Decision;
use crate::denials::Denials;
use crate::error::Error;
use crate::fallback::Fallback;
use crate::quota::Quota;
use crate::reservation::Reserve;
use crate::server::Server;
use crate::telemetry::{self, DecisionOutcome};

/// The headers of a response, by name.
pub type Headers = BTreeMap<String, String>;

/// Takes units from limits that all processes share. A clone is the same limiter.
///
/// Limits are written as in `"10/s,1000/h"`. `"*"` stands for the limits that operators have set for
/// the key, by RL.PIN or RL.POLICY.
///
/// The limiter does not ask what it knows: it remembers a denial until its retry time, at most 1 s,
/// and denies a request of the same key and limits at an equal or higher cost meanwhile. So it may
/// deny for up to 1 s what an operator or a refund has freed, and such denials are missing from
/// RL.TOP, RL.STATS and alerts. Redis is always asked for requests that are critical, that wait or
/// that are tracked, and for those of the layer for tower.
#[derive(Clone)]
pub struct Limiter {
    pub(crate) server: Server,
    pub(crate) fallback: Arc<dyn Fallback>,
    pub(crate) denials: Option<Arc<Denials>>,
    pub(crate) counts: Arc<Counts>,
}

/// The number of requests that each part decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The number of requests that Redis decided.
    pub redis: u64,
    /// The number of requests that the memory of denials decided, without a round trip.
    pub memory: u64,
    /// The number of requests that the fallback decided.
    pub fallback: u64,
}

#[derive(Default)]
pub(crate) struct Counts {
    redis: AtomicU64,
    memory: AtomicU64,
    fallback: AtomicU64,
}

/// One request of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    key: &'a str,
    limits: &'a str,
    cost: u64,
}

impl<'a> BatchItem<'a> {
    /// Makes a request for one unit of this key, with these limits.
    pub fn new(key: &'a str, limits: &'a str) -> Self {
        Self { key, limits, cost: 1 }
    }

    /// Sets the number of units that the request takes.
    #[must_use]
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }
}

impl Limiter {
    /// Makes a limiter that asks this server. The fallback decides while the server is away.
    pub fn new(server: &Server, fallback: impl Fallback) -> Self {
        Self {
            server: server.clone(),
            fallback: Arc::new(fallback),
            denials: Some(Arc::default()),
            counts: Arc::default(),
        }
    }

    /// Makes the limiter always ask, so that nothing is denied from memory.
    #[must_use]
    pub fn without_memory(mut self) -> Self {
        self.denials = None;
        self
    }

    /// Returns the server that the limiter asks.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Takes a unit from every limit, or from none. The methods of [`Acquire`] change the request.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(limiter: floodgate_redis::Limiter) -> Result<(), floodgate_redis::Error> {
    /// let one = limiter.acquire("user:42", "10/s,1000/h").await?;
    /// let five = limiter.acquire("user:42", "10/s,1000/h").cost(5).wait(Duration::from_secs(2)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn acquire<'a>(&'a self, key: &'a str, limits: &'a str) -> Acquire<'a> {
        Acquire::new(self, key, limits)
    }

    /// Charges units that were used already, whatever is left, blocked or closed. Beyond the limit they
    /// are debt, of at most one capacity. The decision is that on a request for one unit more. While
    /// Redis is away the fallback is asked, as by [`Limiter::acquire`].
    pub fn charge<'a>(&'a self, key: &'a str, limits: &'a str, units: u64) -> Charge<'a> {
        Charge::new(self, key, limits, units)
    }

    /// Reserves a unit of every key, to be settled when the work is done. The methods of [`Reserve`]
    /// change the request.
    pub fn reserve<'a>(&'a self, limits: &'a [(&'a str, &'a str)]) -> Reserve<'a> {
        Reserve::new(self, limits)
    }

    /// Decides many requests in one atomic step, at most 1,000, each on its own.
    ///
    /// # Errors
    /// Fails if Redis refuses the command. While Redis is away the fallback decides.
    pub async fn batch_each(&self, items: &[BatchItem<'_>]) -> Result<Vec<Decision>, Error> {
        let alone = || items.iter().map(|item| self.alone(item.key, item.cost)).collect();
        self.batch("EACH", items, alone).await
    }

    /// Decides many requests in one atomic step, at most 1,000. All are granted, or none.
    ///
    /// # Errors
    /// Fails if Redis refuses the command. While Redis is away the fallback decides.
    pub async fn batch_all(&self, items: &[BatchItem<'_>]) -> Result<Vec<Decision>, Error> {
        self.batch("ALL", items, || self.all_alone(items)).await
    }

    /// Gives units back that were not used after all, on the limits of the key's last grant. The newest
    /// units go first, whoever took them. Returns how many were given back: 0 while Redis is away.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn refund(&self, key: &str, units: u64) -> Result<u64, Error> {
        self.refunded(key, units, redis::cmd("RL.REFUND").arg(key).arg(units)).await
    }

    /// Does what [`Limiter::refund`] does, on these limits.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn refund_on(&self, key: &str, limits: &str, units: u64) -> Result<u64, Error> {
        self.refunded(key, units, redis::cmd("RL.REFUND").arg(key).arg(units).arg(limits)).await
    }

    async fn refunded(&self, key: &str, units: u64, command: &redis::Cmd) -> Result<u64, Error> {
        if let Some(denials) = &self.denials {
            denials.forget(key);
        }
        match self.server.ask(command).await {
            Err(Error::Away) => {
                self.fallback.refund(key, units);
                Ok(0)
            }
            answer => answer,
        }
    }

    /// Returns how the key stands, without taking units. `None` if the key has no limits.
    ///
    /// # Errors
    /// Fails if Redis refuses the command, and while Redis is away.
    pub async fn quota(&self, key: &str, limits: &str) -> Result<Option<Quota>, Error> {
        self.quota_for(key, limits, 1).await
    }

    /// Returns the same, with the time until a request for `cost` units would be granted.
    ///
    /// # Errors
    /// Fails if Redis refuses the command, and while Redis is away.
    pub async fn quota_for(&self, key: &str, limits: &str, cost: u64) -> Result<Option<Quota>, Error> {
        self.server.ask(quota(key, limits).arg("COST").arg(cost)).await
    }

    /// Returns how the key stands as headers of a response. There are none while Redis is away.
    ///
    /// # Errors
    /// Fails if Redis refuses the command.
    pub async fn headers(&self, key: &str, limits: &str) -> Result<Headers, Error> {
        match self.server.ask::<Option<Headers>>(quota(key, limits).arg("HEADERS")).await {
            Err(Error::Away) => Ok(Headers::new()),
            answer => Ok(answer?.unwrap_or_default()),
        }
    }

    /// Returns how many requests each part decided so far.
    pub fn counters(&self) -> Counters {
        let Counts { redis, memory, fallback } = &*self.counts;
        let [redis, memory, fallback] = [redis, memory, fallback].map(|count| count.load(Ordering::Relaxed));
        Counters { redis, memory, fallback }
    }

    async fn batch(
        &self,
        how: &str,
        items: &[BatchItem<'_>],
        alone: impl FnOnce() -> Vec<Decision>,
    ) -> Result<Vec<Decision>, Error> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("RL.BATCH");
        command.arg(how).arg(items.len());
        for BatchItem { key, limits, cost } in items {
            command.arg(key).arg(limits).arg(cost);
        }
        match self.server.ask::<Vec<Decision>>(&command).await {
            Ok(decisions) => {
                for decision in &decisions {
                    self.redis_decided(DecisionOutcome::of(decision));
                }
                Ok(decisions)
            }
            Err(Error::Away) => Ok(alone()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn redis_decided(&self, outcome: DecisionOutcome) {
        self.counts.by_redis();
        telemetry::decided(outcome);
    }

    pub(crate) fn alone(&self, key: &str, cost: u64) -> Decision {
        self.counts.by_fallback();
        telemetry::decided(DecisionOutcome::Fallback);
        self.fallback.acquire(key, cost)
    }

    /// The decision of the fallback on a request that may be granted in part.
    pub(crate) fn alone_in_part(&self, key: &str, cost: u64) -> Decision {
        let whole = self.alone(key, cost);
        if whole.is_granted() || cost <= 1 {
            return whole;
        }
        // One is denied until one is there.
        let left = u64::try_from(whole.remaining).unwrap_or(0);
        self.fallback.acquire(key, left.clamp(1, cost))
    }

    fn all_alone(&self, items: &[BatchItem<'_>]) -> Vec<Decision> {
        let mut decisions: Vec<_> = items.iter().map(|item| self.alone(item.key, item.cost)).collect();
        let denied = decisions.iter().copied().filter(|decision| !decision.is_granted());
        if let Some(longest) = Decision::longest(denied) {
            for (decision, item) in decisions.iter_mut().zip(items) {
                if decision.is_granted() {
                    self.fallback.refund(item.key, decision.granted);
                    // -3: it would have been granted, had the others been.
                    *decision = Decision {
                        granted: 0,
                        retry_after_ms: longest.retry_after_ms,
                        index: -3,
                        ..*decision
                    };
                }
            }
        }
        decisions
    }
}

impl Counts {
    pub(crate) fn by_redis(&self) {
        self.redis.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn by_memory(&self) {
        self.memory.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn by_fallback(&self) {
        self.fallback.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn quota(key: &str, limits: &str) -> redis::Cmd {
    let mut command = redis::cmd("RL.QUOTA");
    command.arg(key);
    // Without limits RL.QUOTA tells those that the server has.
    if limits != "*" {
        command.arg(limits);
    }
    command
}
