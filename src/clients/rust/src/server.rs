//! Redis, asked with little patience: a limiter must not be what is slow.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, IntoConnectionInfo, RedisResult, Value, from_redis_value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connection::{Client, Connection, Question, Shared, late};
use crate::error::Error;
use crate::health::Health;
use crate::server::asked::Asked;

mod asked;
mod line;

/// For how long the answer to a command that takes something may still come.
const LATEST: Duration = Duration::from_secs(60);

/// What is longer is as good as for ever, and can be reckoned with.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How patient a [`Server`] is: of each duration a day at most.
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
        Ok(Self::of(Client::One(redis::Client::open(url)?), options))
    }

    /// A cluster, by the URLs of some of its nodes. Each request goes to the node that has its
    /// key. The nodes have one outage: where one does not answer, the fallback decides for all.
    ///
    /// # Errors
    /// Where a URL is none, or they differ in user, password or TLS.
    #[cfg(feature = "cluster")]
    pub fn cluster<T: IntoConnectionInfo>(urls: impl IntoIterator<Item = T>) -> RedisResult<Self> {
        Self::cluster_with(urls, Options::default())
    }

    /// The same, with other patience.
    ///
    /// # Errors
    /// Where a URL is none, or they differ in user, password or TLS.
    #[cfg(feature = "cluster")]
    pub fn cluster_with<T: IntoConnectionInfo>(
        urls: impl IntoIterator<Item = T>,
        options: Options,
    ) -> RedisResult<Self> {
        Ok(Self::of(crate::connection::cluster::open(urls)?, options))
    }

    fn of(client: Client, options: Options) -> Self {
        let Options { patience, rest, waiters } = options;
        let [patience, rest] = [patience, rest].map(|duration| duration.min(LONGEST));
        let inner = Inner {
            client,
            asking: Shared::new(patience, patience),
            taking: Shared::new(patience, LATEST),
            waiters: Semaphore::new(waiters.min(Semaphore::MAX_PERMITS)),
            patience,
            health: Health::new(rest),
        };
        Self { inner: Arc::new(inner) }
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
        self.put(command.clone()).await
    }

    /// The number of the outage that lasts; none while Redis decides.
    pub(crate) fn outage(&self) -> Option<u64> {
        self.inner.health.outage()
    }

    /// Whether not all keys are on one node.
    pub(crate) fn is_cluster(&self) -> bool {
        self.inner.client.is_cluster()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.inner.patience
    }

    /// The answer to a command, or to a pipeline.
    pub(crate) async fn put<T: FromRedisValue>(&self, question: impl Question) -> Result<T, Error> {
        let (server, takes) = (self.clone(), question.takes());
        let asked = async move {
            let Inner { asking, client, .. } = &*server.inner;
            asking.ask(client, &question).await
        };
        let answer = self.answer(takes, asked).await?;
        from_redis_value(answer).map_err(|error| Error::Refused(error.into()))
    }

    /// The answer to a command that takes what has to be given back. Redis may obey it
    /// although its caller waits no more, being dropped or out of patience. `undo` then makes,
    /// of the late answer, the commands that give back what was taken.
    pub(crate) async fn take<T: FromRedisValue + Send + 'static>(
        &self,
        command: Cmd,
        undo: impl Fn(&T) -> Vec<Cmd> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let server = self.clone();
        let asked = async move {
            let Inner { taking, client, patience, .. } = &*server.inner;
            let mut may_ask_again = true;
            loop {
                let connection = taking.connection(client).await?;
                let answer = server.taken(&connection, command.clone(), undo.clone());
                match timeout(*patience, answer).await {
                    // As `Shared::ask` does.
                    Ok(Ok(Err(error))) if error.is_connection_dropped() && may_ask_again => {
                        may_ask_again = false;
                    }
                    Ok(Ok(answer)) => return answer,
                    _ => {
                        // The others are not to wait on a connection that is silent.
                        taking.leave(&connection).await;
                        return Err(late());
                    }
                }
            }
        };
        self.answer(true, asked).await?.answer.take().ok_or(Error::Away)
    }

    /// What comes of a command on this connection, whoever still waits for it.
    fn taken<T: FromRedisValue + Send + 'static, U: Fn(&T) -> Vec<Cmd> + Send + 'static>(
        &self,
        connection: &Arc<Connection>,
        command: Cmd,
        undo: U,
    ) -> oneshot::Receiver<RedisResult<Taken<T, U>>> {
        let (told, answer) = oneshot::channel();
        let (server, connection, runtime) = (self.clone(), Arc::clone(connection), Handle::current());
        tokio::spawn(async move {
            let asked = command.put((*connection).clone()).await;
            if asked.as_ref().is_err_and(redis::RedisError::is_io_error) {
                server.inner.taking.leave(&connection).await;
            }
            let answer = asked.and_then(|answer| Ok(from_redis_value(answer)?));
            // Dropped where nobody hears it.
            let _ = told.send(answer.map(|answer| Taken { answer: Some(answer), undo, server, runtime }));
        });
        answer
    }

    /// Reports the result of the work, even when nobody waits for that any more. It does not
    /// fail: what could not be reported ends with its lease or its TTL.
    pub(crate) fn finish(&self, runtime: &Handle, command: Cmd) -> JoinHandle<()> {
        let server = self.clone();
        runtime.spawn(async move {
            if let Err(Error::Refused(error)) = server.put::<Value>(command).await {
                log::warn!("could not report the result of the work: {error}");
            }
        })
    }

    /// Judges by the answer whether Redis is well, also where the caller does not wait for it:
    /// callers of less patience than the server are not each to find out that it is away.
    async fn answer<T: Send + 'static>(
        &self,
        takes: bool,
        question: impl Future<Output = RedisResult<T>> + Send + 'static,
    ) -> Result<T, Error> {
        if !self.inner.health.may_ask(takes) {
            return Err(Error::Away);
        }
        let server = self.clone();
        // Connecting may take as long again, and so may a second attempt.
        let longest = self.inner.patience * 3;
        Asked::new(async move { server.judged(takes, longest, question).await }).await
    }

    async fn judged<T>(
        &self,
        takes: bool,
        longest: Duration,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        let health = &self.inner.health;
        match timeout(longest, question).await.unwrap_or_else(|_| Err(late())) {
            Ok(answer) => {
                health.answered(takes);
                Ok(answer)
            }
            Err(error) => Err(health.judged(error, takes)),
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
