//! Redis, asked with little patience: a limiter must not be what is slow.

use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::{Question, Shared};
use crate::error::Error;
use crate::health::Health;

mod line;

/// For how long the answer to a command that takes something may still come.
const LATEST: Duration = Duration::from_secs(60);

/// How patient a [`Server`] is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long an answer may take, and how long connecting may (250 ms).
    pub patience: Duration,
    /// How long Redis is left alone after a failure (1 s), give or take a half.
    pub rest: Duration,
    /// How many requests may wait in line at a time (64), those of caches among them: each
    /// has a connection of its own. One more does not wait.
    pub waiters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_millis(250), rest: Duration::from_secs(1), waiters: 64 }
    }
}

/// A Redis server with Floodgate. A clone is the same server: those who use it find
/// out together that it is away.
///
/// After a failure Redis is not asked for a while, and then by one request for all:
/// an outage costs one request its timeout, not each of them. That it is lost, and
/// that it is found again, is logged once each (crate `log`, target
/// `floodgate_redis::health`).
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    asking: Shared,
    // For what has to be given back, should its answer be late.
    taking: Shared,
    waiters: Semaphore,
    patience: Duration,
    health: Health,
}

impl Server {
    /// By its URL (`redis://`, `unix://`, with a feature of redis-rs `rediss://`). It
    /// does not connect yet.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn open(url: impl IntoConnectionInfo) -> RedisResult<Self> {
        Self::with(url, Options::default())
    }

    /// The same, with other patience.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn with(url: impl IntoConnectionInfo, options: Options) -> RedisResult<Self> {
        let Options { patience, rest, waiters } = options;
        let inner = Inner {
            client: Client::open(url)?,
            asking: Shared::new(patience, patience),
            taking: Shared::new(patience, LATEST),
            waiters: Semaphore::new(waiters.min(Semaphore::MAX_PERMITS)),
            patience,
            health: Health::new(rest),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// For the start of a program.
    ///
    /// # Errors
    /// Misconfigured where Redis refuses the credentials, or has no Floodgate. That it
    /// is away is only logged.
    pub async fn check(&self) -> Result<(), Error> {
        match self.ask::<Value>(&redis::cmd("RL.HELP")).await {
            Err(Error::Misconfigured(error)) => Err(Error::Misconfigured(error)),
            _ => Ok(()),
        }
    }

    /// The answer to any command that does not wait.
    ///
    /// # Errors
    /// Away, Misconfigured, or the server's own.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.put(command).await
    }

    pub(crate) fn patience(&self) -> Duration {
        self.inner.patience
    }

    /// The answer to a command, or to a pipeline.
    pub(crate) async fn put<T: FromRedisValue>(&self, question: &impl Question) -> Result<T, Error> {
        let Inner { asking, client, patience, .. } = &*self.inner;
        // Connecting may take as long again.
        self.answer(*patience * 2, async {
            match asking.ask(client, question).await {
                // A second attempt where a connection was lost, at once; none after
                // a timeout. Should both arrive, the limit has counted too much,
                // never too little.
                Err(error) if error.is_connection_dropped() => asking.ask(client, question).await,
                answer => answer,
            }
        })
        .await
    }

    /// The answer to a command that takes what has to be given back. Redis may obey it
    /// although its caller waits no more, being dropped or out of patience. `undo` then makes,
    /// of the late answer, the commands that give back what was taken.
    pub(crate) async fn take<T: FromRedisValue + Send + 'static>(
        &self,
        command: Cmd,
        undo: impl Fn(&T) -> Vec<Cmd> + Send + 'static,
    ) -> Result<T, Error> {
        let patience = self.inner.patience;
        let (told, answer) = oneshot::channel();
        let (server, runtime) = (self.clone(), Handle::current());
        self.answer(patience * 3, async {
            tokio::spawn(async move {
                let Inner { taking, client, .. } = &*server.inner;
                let asked = taking.ask(client, &command).await;
                let taken = |answer| Taken { answer: Some(answer), undo, server: server.clone(), runtime };
                // Dropped where nobody hears it.
                let _ = told.send(asked.map(taken));
            });
            let Ok(Ok(answer)) = timeout(patience * 2, answer).await else {
                // The others are not to wait on a connection that is silent.
                self.inner.taking.leave().await;
                return Err(late());
            };
            answer.and_then(|mut taken| taken.answer.take().ok_or_else(late))
        })
        .await
    }

    /// Reports the result of the work, even when nobody waits for that any more. It does not
    /// fail: what could not be reported ends with its lease or its TTL.
    pub(crate) fn finish(&self, runtime: &Handle, command: Cmd) -> JoinHandle<()> {
        let server = self.clone();
        runtime.spawn(async move {
            if let Err(Error::Refused(error)) = server.put::<Value>(&command).await {
                log::warn!("could not report the result of the work: {error}");
            }
        })
    }

    async fn answer<T>(
        &self,
        longest: Duration,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        let health = &self.inner.health;
        if !health.may_ask() {
            return Err(Error::Away);
        }
        match timeout(longest, question).await.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => {
                health.answered();
                Ok(answer)
            }
            Err(error) => Err(health.judged(error)),
        }
    }
}

/// What was taken, until its taker has it.
struct Taken<T, U: Fn(&T) -> Vec<Cmd>> {
    answer: Option<T>,
    undo: U,
    server: Server,
    runtime: Handle,
}

impl<T, U: Fn(&T) -> Vec<Cmd>> Drop for Taken<T, U> {
    fn drop(&mut self) {
        for command in self.answer.as_ref().map(&self.undo).into_iter().flatten() {
            self.server.inner.health.awake();
            self.server.finish(&self.runtime, command);
        }
    }
}

/// A duration, with its unit; at least a millisecond.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().max(1))
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
