//! A request for units.

use std::pin::Pin;
use std::time::Instant;

use redis::Cmd;

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::{Headers, Limiter, quota};
use crate::manner::{Manner, manner_methods};
use crate::telemetry::{self, DecisionOutcome};

/// A request for units. [`Limiter::acquire`] makes it, and it is sent when it is awaited.
#[must_use = "it asks nothing until it is awaited"]
#[derive(Clone, Copy)]
pub struct Acquire<'a> {
    limiter: &'a Limiter,
    key: &'a str,
    limits: &'a str,
    cost: u64,
    manner: Manner,
    is_partial: bool,
    is_tracked: bool,
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(limiter: &'a Limiter, key: &'a str, limits: &'a str) -> Self {
        let manner = Manner::default();
        Self { limiter, key, limits, cost: 1, manner, is_partial: false, is_tracked: false }
    }

    /// Sets the number of units that the request takes (1).
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    manner_methods!();

    /// Lets the request take what is left, if that is less than its cost.
    pub fn partial(mut self) -> Self {
        self.is_partial = true;
        self
    }

    /// Makes the server keep statistics of the key (RL.STATS).
    pub fn track(mut self) -> Self {
        self.is_tracked = true;
        self
    }

    /// Takes the units, and returns the headers for the HTTP response as well: `RateLimit`,
    /// `RateLimit-Policy`, `X-RateLimit-*` and, if the request is denied, `Retry-After`. Redis is
    /// always asked, in one round trip; a request that waits and a cluster need two.
    ///
    /// # Errors
    /// Fails if Redis refuses the command. While Redis is away the fallback decides.
    pub async fn with_headers(self) -> Result<(Decision, Headers), Error> {
        // In a transaction a command does not follow its key to another node.
        let (decision, mut headers) = if self.manner.wait.is_some() || self.limiter.server.is_cluster() {
            (self.decided(true).await?, self.limiter.headers(self.key, self.limits).await?)
        } else {
            self.decided_with_headers().await?
        };
        // RL.QUOTA speaks of the next request.
        headers.remove("Retry-After");
        if let Some(seconds) = decision.retry_after_s() {
            headers.insert("Retry-After".into(), seconds.to_string());
        }
        Ok((decision, headers))
    }

    async fn decided(self, asks_always: bool) -> Result<Decision, Error> {
        let Self { limiter, key, limits, .. } = self;
        // What may be granted in part is denied as one unit is.
        let cost = if self.is_partial { 1 } else { self.cost };
        let asks_always =
            asks_always || self.manner.is_critical || self.is_tracked || self.manner.wait.is_some();
        let memory = limiter.denials.as_ref().filter(|_| !asks_always);
        let asked = Instant::now();
        if let Some(known) = memory.and_then(|memory| memory.recall(key, limits, cost, asked)) {
            limiter.counts.by_memory();
            telemetry::decided(DecisionOutcome::Remembered);
            return Ok(known);
        }
        let answer = match self.manner.wait {
            Some(wait) => limiter.server.wait(wait, self.command()).await,
            None => limiter.server.ask(&self.command()).await,
        };
        match answer {
            Ok(decision) => {
                limiter.redis_decided(DecisionOutcome::of(&decision));
                if let Some(memory) = memory {
                    memory.learn(key, limits, cost, decision, asked);
                }
                Ok(decision)
            }
            Err(Error::Away) => Ok(self.alone()),
            Err(error) => Err(error),
        }
    }

    /// The decision of the fallback.
    fn alone(self) -> Decision {
        let Self { limiter, key, cost, .. } = self;
        if self.is_partial { limiter.alone_in_part(key, cost) } else { limiter.alone(key, cost) }
    }

    async fn decided_with_headers(self) -> Result<(Decision, Headers), Error> {
        let Self { limiter, key, limits, .. } = self;
        // A transaction, not `atomic`: with that redis-rs 1.8 panics where MULTI itself
        // is refused.
        let mut both = redis::pipe();
        both.cmd("MULTI").ignore();
        both.add_command(self.command()).ignore();
        both.add_command(quota(key, limits)).arg("HEADERS").ignore();
        both.cmd("EXEC");
        match limiter.server.put::<[(Decision, Option<Headers>); 1]>(both).await {
            Ok([(decision, headers)]) => {
                limiter.redis_decided(DecisionOutcome::of(&decision));
                Ok((decision, headers.unwrap_or_default()))
            }
            Err(Error::Away) => Ok((self.alone(), Headers::new())),
            Err(error) => Err(error),
        }
    }

    fn command(&self) -> Cmd {
        let mut command = redis::cmd("RL.ACQUIRE");
        command.arg(self.key).arg(self.limits).arg("COST").arg(self.cost);
        for (is_set, word) in
            [(self.is_partial, "PARTIAL"), (self.manner.is_critical, "CRITICAL"), (self.is_tracked, "TRACK")]
        {
            if is_set {
                command.arg(word);
            }
        }
        command
    }
}

impl<'a> IntoFuture for Acquire<'a> {
    type Output = Result<Decision, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.decided(false))
    }
}
