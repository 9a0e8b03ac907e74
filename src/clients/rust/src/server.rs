//! The server. It is asked with little patience, because a limiter must not be what is slow.

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

/// The longest time in which the answer to a command that takes something may still come.
const LATEST: Duration = Duration::from_secs(60);

/// The longest duration of an option. It is as good as for ever, and times that far away can be
/// computed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The options of a [`Server`]. A duration of more than a day counts as a day.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest time that an answer may take, and the longest that connecting may take (250 ms).
    pub patience: Duration,
    /// The time for which Redis is not asked after a failure (1 s). Each pause is between half and one
    /// and a half of it.
    pub rest: Duration,
    /// The number of requests that may wait in line at a time, those of caches included (64). Each has
    /// a connection of its own. One more does not wait.
    pub waiters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_millis(250), rest: Duration::from_secs(1), waiters: 64 }
    }
}

/// A Redis server with Floodgate. A clone is the same server, and all clones find out together that it
/// is away.
///
/// After a failure Redis is not asked for a while, and then by one request for all. So an outage costs
/// one request its timeout, and not each of them. The beginning and the end of an outage are logged
/// once each (crate `log`, target `floodgate_redis::health`).
#[derive(Clone)]
pub struct Server {
    state: Arc<ServerState>,
}

/// What the clones of a [`Server`] share.
struct ServerState {
    client: Client,
    asking: Shared,
    // For what has to be given back, should its answer be late.
    taking: Shared,
    waiters: Semaphore,
    patience: Duration,
    health: Health,
}

impl Server {
    /// Makes a server from its URL (`redis://`, `unix://`, and with a feature of redis-rs `rediss://`).
    /// It does not connect yet.
    ///
    /// # Errors
    /// Fails if the URL is malformed.
    pub fn open(url: impl IntoConnectionInfo) -> RedisResult<Self> {
        Self::with(url, Options::default())
    }

    /// Does what [`Server::open`] does, with these options.
    ///
    /// # Errors
    /// Fails if the URL is malformed.
    pub fn with(url: impl IntoConnectionInfo, options: Options) -> RedisResult<Self> {
        Ok(Self::of(Client::One(redis::Client::open(url)?), options))
    }

    /// Makes a cluster from the URLs of some of its nodes. Each request goes to the node that has its
    /// key. The nodes share one outage: if one does not answer, the fallback decides for all keys.
    ///
    /// # Errors
    /// Fails if a URL is malformed, or if the URLs differ in user, password or TLS.
    #[cfg(feature = "cluster")]
    pub fn cluster<T: IntoConnectionInfo>(urls: impl IntoIterator<Item = T>) -> RedisResult<Self> {
        Self::cluster_with(urls, Options::default())
    }

    /// Does what [`Server::cluster`] does, with these options.
    ///
    /// # Errors
    /// Fails if a URL is malformed, or if the URLs differ in user, password or TLS.
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
        let state = ServerState {
            client,
            asking: Shared::new(patience, patience),
            taking: Shared::new(patience, LATEST),
            waiters: Semaphore::new(waiters.min(Semaphore::MAX_PERMITS)),
            patience,
            health: Health::new(rest),
        };
        Self { state: Arc::new(state) }
    }

    /// Checks the server when a program starts. If Redis is away, that is only logged.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if Redis refuses the credentials, if no connection can be made as it is
    /// set up, or if Redis has no Floodgate.
    pub async fn check(&self) -> Result<(), Error> {
        match self.ask::<Value>(&redis::cmd("RL.HELP")).await {
            Err(Error::Misconfigured(error)) => Err(Error::Misconfigured(error)),
            _ => Ok(()),
        }
    }

    /// Sends a command that does not wait, and returns its answer.
    ///
    /// # Errors
    /// [`Error::Away`] while Redis is away, [`Error::Misconfigured`] if a person has to put something
    /// right, and [`Error::Refused`] with an error of the server.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.put(command.clone()).await
    }

    /// The number of the current outage; `None` while Redis decides.
    pub(crate) fn outage(&self) -> Option<u64> {
        self.state.health.outage()
    }

    /// Whether this is a cluster, so that not all keys are on one node.
    pub(crate) fn is_cluster(&self) -> bool {
        self.state.client.is_cluster()
    }

    pub(crate) fn patience(&self) -> Duration {
        self.state.patience
    }

    /// The answer to a command, or to a pipeline.
    pub(crate) async fn put<T: FromRedisValue>(&self, question: impl Question) -> Result<T, Error> {
        self.may_ask(question.takes())?;
        self.put_now(question).await
    }

    /// The answer to a command, or to a pipeline, of a caller that [`Server::may_ask`] allowed to ask.
    async fn put_now<T: FromRedisValue>(&self, question: impl Question) -> Result<T, Error> {
        let (server, takes) = (self.clone(), question.takes());
        let asked = async move {
            let ServerState { asking, client, .. } = &*server.state;
            asking.ask(client, &question).await
        };
        let answer = self.answer(takes, asked).await?;
        from_redis_value(answer).map_err(|error| Error::Refused(error.into()))
    }

    /// The answer to a command that takes something that must be given back. Redis may carry it out
    /// although its caller waits no more, because the caller was dropped or has lost patience. Then
    /// `undo` makes of the late answer the commands that give back what was taken.
    pub(crate) async fn take<T: FromRedisValue + Send + 'static>(
        &self,
        command: Cmd,
        undo: impl Fn(&T) -> Vec<Cmd> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        self.may_ask(true)?;
        self.take_now(command, undo).await
    }

    /// Does what [`Server::take`] does, for a caller that [`Server::may_ask`] allowed to ask.
    async fn take_now<T: FromRedisValue + Send + 'static>(
        &self,
        command: Cmd,
        undo: impl Fn(&T) -> Vec<Cmd> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let server = self.clone();
        let asked = async move {
            let ServerState { taking, asking, client, patience, .. } = &*server.state;
            let mut may_ask_again = true;
            loop {
                let connection = match taking.connection(client).await {
                    Ok(connection) => connection,
                    // Redis may have no room for one more client, and answer those that it has.
                    Err(_) => asking.connection(client).await?,
                };
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
                        asking.leave(&connection).await;
                        return Err(late());
                    }
                }
            }
        };
        self.answer(true, asked).await?.answer.take().ok_or(Error::Away)
    }

    /// The answer to a command on this connection, whether its caller still waits for it or not.
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
                server.state.taking.leave(&connection).await;
                server.state.asking.leave(&connection).await;
            }
            let answer = asked.and_then(|answer| Ok(from_redis_value(answer)?));
            // Dropped where nobody hears it.
            let _ = told.send(answer.map(|answer| Taken { answer: Some(answer), undo, server, runtime }));
        });
        answer
    }

    /// Reports the result of the work, even if no caller waits for that any more. It does not fail: a
    /// lease or a reservation that could not be reported ends by its own time.
    pub(crate) fn finish(&self, runtime: &Handle, command: Cmd) -> JoinHandle<()> {
        let server = self.clone();
        runtime.spawn(async move {
            if let Err(Error::Refused(error)) = server.put::<Value>(command).await {
                log::warn!("could not report the result of the work: {error}");
            }
        })
    }

    /// Fails while Redis is away and another request is to find out whether it is back.
    fn may_ask(&self, takes: bool) -> Result<(), Error> {
        if self.state.health.may_ask(takes) { Ok(()) } else { Err(Error::Away) }
    }

    /// Judges by the answer whether Redis is well, even if the caller stops waiting for it. So
    /// callers with less patience than the server do not each have to find out that it is away.
    async fn answer<T: Send + 'static>(
        &self,
        takes: bool,
        question: impl Future<Output = RedisResult<T>> + Send + 'static,
    ) -> Result<T, Error> {
        let server = self.clone();
        // Connecting may take as long again, and so may a second attempt.
        let longest = self.state.patience * 3;
        Asked::new(async move {
            let health = &server.state.health;
            match timeout(longest, question).await.unwrap_or_else(|_| Err(late())) {
                Ok(answer) => {
                    health.answered(takes);
                    Ok(answer)
                }
                Err(error) => Err(health.judged(error, takes)),
            }
        })
        .await
    }
}

/// Something that was taken, until its caller has it.
struct Taken<T, U: Fn(&T) -> Vec<Cmd>> {
    answer: Option<T>,
    undo: U,
    server: Server,
    runtime: Handle,
}

impl<T, U: Fn(&T) -> Vec<Cmd>> Drop for Taken<T, U> {
    fn drop(&mut self) {
        for command in self.answer.as_ref().map(&self.undo).into_iter().flatten() {
            self.server.state.health.awake();
            self.server.finish(&self.runtime, command);
        }
    }
}

/// The longest duration that the server reads.
const LONGEST_READ: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A duration with its unit, of at least a millisecond, and at most as long as the server reads.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{}ms", duration.min(LONGEST_READ).as_millis().max(1))
}
