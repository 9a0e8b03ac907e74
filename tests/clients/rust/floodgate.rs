//! Limits for a service in Rust, and what holds while Redis is away. Copy it;
//! it needs nothing but redis-rs, tokio and fastrand.
//!
//! ```text
//! let server = Server::open("redis://localhost:6379")?;
//! let limiter = Limiter::new(server, Fallback::Local(LocalBucket::new(5.0, 5.0)));
//! let decision = limiter.acquire(&format!("user:{user}"), "10/s,1000/h,20000/d", 1).await?;
//! if decision.granted == 0 {
//!     // 429, Retry-After: decision.retry_after_s()
//! }
//! ```

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, ParsingError, RedisError, RedisResult,
    Value,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The six integers of RL.ACQUIRE, and whether Redis gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub granted: u64,
    pub limit: i64,
    pub remaining: i64,
    pub retry_after_ms: i64,
    pub reset_after_ms: i64,
    pub index: i64,
    pub from_redis: bool,
}

impl Decision {
    /// For the header Retry-After: whole seconds, at least one; none where it
    /// was granted, or never will be.
    pub fn retry_after_s(&self) -> Option<u64> {
        let ms = u64::try_from(self.retry_after_ms).ok()?;
        (self.granted == 0).then(|| ms.div_ceil(1000).max(1))
    }

    fn alone(granted: u64, limit: i64, remaining: i64, retry_after_ms: i64) -> Self {
        Self { granted, limit, remaining, retry_after_ms, reset_after_ms: 0, index: 0, from_redis: false }
    }
}

impl FromRedisValue for Decision {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (granted, limit, remaining, retry_after_ms, reset_after_ms, index) =
            redis::from_redis_value(value)?;
        Ok(Self { granted, limit, remaining, retry_after_ms, reset_after_ms, index, from_redis: true })
    }
}

/// What holds while Redis is away: choose for each limiter.
pub enum Fallback {
    /// Everything passes: right where an outage costs more than a flood.
    FailOpen,
    /// Nothing passes: right where a flood costs more, as with logins.
    FailClosed,
    /// Each process limits on its own: right in between. N processes let up to
    /// N times that pass in all.
    Local(LocalBucket),
}

impl Fallback {
    pub fn acquire(&self, key: &str, cost: u64) -> Decision {
        match self {
            Self::FailOpen => Decision::alone(cost, -1, -1, 0),
            Self::FailClosed => Decision::alone(0, 0, 0, 1000),
            Self::Local(bucket) => bucket.acquire(key, cost),
        }
    }
}

/// A token bucket for each key: `rate` a second and `burst` at once.
pub struct LocalBucket {
    rate: f64,
    burst: f64,
    levels: Mutex<HashMap<String, (f64, Instant)>>,
}

impl LocalBucket {
    const MOST_KEYS: usize = 10_000;

    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, levels: Mutex::default() }
    }

    fn acquire(&self, key: &str, cost: u64) -> Decision {
        let now = Instant::now();
        let full =
            |level: f64, since: Instant| self.burst.min(level + (now - since).as_secs_f64() * self.rate);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.len() >= Self::MOST_KEYS && !levels.contains_key(key) {
            // Those that are full again are as good as new.
            levels.retain(|_, (level, since)| full(*level, *since) < self.burst);
            if levels.len() >= Self::MOST_KEYS {
                levels.clear();
            }
        }
        let (level, since) = levels.entry(key.to_owned()).or_insert((self.burst, now));
        (*level, *since) = (full(*level, *since), now);
        let missing = cost as f64 - *level;
        let (granted, retry_after_ms) = if missing <= 0.0 {
            *level -= cost as f64;
            (cost, 0)
        } else if cost as f64 <= self.burst {
            (0, (missing / self.rate * 1000.0).ceil() as i64)
        } else {
            (0, -1)
        };
        Decision::alone(granted, self.burst as i64, *level as i64, retry_after_ms)
    }
}

/// Why the server decided nothing.
#[derive(Debug)]
pub enum Undecided {
    /// It does not answer, or only that it cannot write.
    Away,
    /// It refuses: malformed limits, a wrong type, missing rights. Credentials too,
    /// or that it has no Floodgate, until it has answered for the first time:
    /// afterwards these are an outage like others.
    Refused(RedisError),
}

/// Redis, asked with little patience: a limiter must not be what is slow.
///
/// After a failure it is not asked for a while, and then by one request for
/// all: an outage costs one request its timeout, not each of them. That it is
/// lost, and that it is found again, is logged once each.
pub struct Server {
    client: Client,
    asking: Shared,
    // For what has to be given back, should its answer be late.
    taking: Shared,
    waiters: Semaphore,
    patience: Duration,
    rest: Duration,
    state: Mutex<State>,
    log: fn(&str),
}

/// A connection that all share. Not a ConnectionManager: that keeps one on which
/// nothing comes back, as when the machine behind it is gone.
struct Shared {
    current: tokio::sync::Mutex<Option<Arc<MultiplexedConnection>>>,
    longest_answer: Duration,
}

#[derive(Default)]
struct State {
    asleep_until: Option<Instant>,
    has_answered: bool,
    lost: bool,
}

/// How long the answer to what took something may still come.
const LATEST: Duration = Duration::from_secs(60);

impl Server {
    /// # Errors
    /// Where the address is none. It does not connect yet.
    pub fn open(url: &str) -> RedisResult<Arc<Self>> {
        Self::with(url, Duration::from_millis(250), Duration::from_secs(1), |line| eprintln!("{line}"))
    }

    /// The same with other times to wait for an answer, and to rest after a
    /// failure, and with another log.
    pub fn with(url: &str, patience: Duration, rest: Duration, log: fn(&str)) -> RedisResult<Arc<Self>> {
        let shared = |longest_answer| Shared { current: tokio::sync::Mutex::default(), longest_answer };
        Ok(Arc::new(Self {
            client: Client::open(url)?,
            asking: shared(patience),
            taking: shared(LATEST),
            waiters: Semaphore::new(64),
            patience,
            rest,
            state: Mutex::default(),
            log,
        }))
    }

    /// For the start of a program.
    ///
    /// # Errors
    /// Where Redis refuses the credentials, or has no Floodgate. That it is away is
    /// only logged.
    pub async fn check(&self) -> RedisResult<()> {
        match self.ask::<Value>(&redis::cmd("RL.HELP")).await {
            Err(Undecided::Refused(error)) if error.code() != Some("NOPERM") => Err(error),
            _ => Ok(()),
        }
    }

    /// The answer to a command, or to a pipeline.
    pub async fn ask<T: FromRedisValue>(&self, question: impl Question) -> Result<T, Undecided> {
        // Connecting may take as long again.
        self.answer(self.patience * 2, async {
            match self.attempt(&self.asking, &question).await {
                // A second attempt where a connection was lost, at once; none
                // after a timeout. Should both arrive, the limit has counted
                // too much, never too little.
                Err(error) if error.is_connection_dropped() => self.attempt(&self.asking, &question).await,
                answer => answer,
            }
        })
        .await
    }

    /// The answer to a command that takes what has to be given back. It may be
    /// obeyed although nobody waits for the answer any more, who was dropped or out
    /// of patience: `undo` then says how what was taken is given back.
    pub async fn take<T: FromRedisValue + Send + 'static>(
        self: &Arc<Self>,
        command: Cmd,
        undo: impl Fn(&T) -> Option<Cmd> + Send + 'static,
    ) -> Result<T, Undecided> {
        let (told, answer) = oneshot::channel();
        let server = Arc::clone(self);
        self.answer(self.patience * 3, async {
            tokio::spawn(async move {
                let asked = server.attempt(&server.taking, &&command).await;
                let _ = told.send(asked.map(|answer| Taken { answer: Some(answer), undo, server }));
            });
            let Ok(Ok(answer)) = timeout(self.patience * 2, answer).await else {
                // The others are not to wait on a connection that is silent.
                self.taking.current.lock().await.take();
                return Err(late());
            };
            answer.and_then(|mut taken| taken.answer.take().ok_or_else(late))
        })
        .await
    }

    /// The answer to a command that waits. Whoever drops it leaves the line.
    /// When too many wait already it does not wait.
    pub async fn wait<T: FromRedisValue>(&self, wait: Duration, command: &mut Cmd) -> Result<T, Undecided> {
        let Ok(_permit) = self.waiters.try_acquire() else { return self.ask(&*command).await };
        command.arg("WAIT").arg(format!("{}ms", wait.as_millis()));
        let longest = wait + self.patience;
        self.answer(longest + self.patience, async {
            // Its own: it is blocked meanwhile, and for longer than the others
            // are waited for.
            let mut own = self.connect(longest).await?;
            command.query_async(&mut own).await
        })
        .await
    }

    /// Tells what came of the work, even when nobody waits for it any more. The
    /// work counts more than that it could be told: leases and TTLs settle it.
    pub fn finish(self: &Arc<Self>, command: Cmd) -> JoinHandle<()> {
        let server = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(Undecided::Refused(error)) = server.ask::<Value>(&command).await {
                (server.log)(&format!("floodgate: {error}"));
            }
        })
    }

    async fn answer<T>(
        &self,
        longest: Duration,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Undecided> {
        if !self.turn() {
            return Err(Undecided::Away);
        }
        let answer = timeout(longest, question).await.unwrap_or_else(|_| Err(late()));
        let mut state = self.state();
        let error = match answer {
            Ok(answer) => {
                self.found(&mut state);
                return Ok(answer);
            }
            Err(error) => error,
        };
        let wrong = is_misconfiguration(&error);
        if wrong && !state.has_answered {
            state.asleep_until = None;
        } else if !wrong && !is_outage(&error) {
            self.found(&mut state);
        } else {
            if !std::mem::replace(&mut state.lost, true) {
                (self.log)(&format!("Redis is lost, fallbacks hold: {error}"));
            }
            state.asleep_until = Some(self.morning());
            return Err(Undecided::Away);
        }
        Err(Undecided::Refused(error))
    }

    fn found(&self, state: &mut State) {
        state.asleep_until = None;
        state.has_answered = true;
        if std::mem::take(&mut state.lost) {
            (self.log)("Redis is found again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks on a connection that all share, made anew when it is broken.
    async fn attempt<T: FromRedisValue>(&self, shared: &Shared, question: &impl Question) -> RedisResult<T> {
        let connection = {
            let mut current = shared.current.lock().await;
            match &*current {
                Some(connection) => connection.clone(),
                None => current.insert(Arc::new(self.connect(shared.longest_answer).await?)).clone(),
            }
        };
        let answer = question.put((*connection).clone()).await;
        if answer.as_ref().is_err_and(RedisError::is_io_error) {
            let mut current = shared.current.lock().await;
            // Unless it was made anew meanwhile.
            current.take_if(|current| Arc::ptr_eq(current, &connection));
        }
        answer
    }

    async fn connect(&self, longest_answer: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(longest_answer));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Whether to ask; once when the rest is over, then again when it answered.
    fn turn(&self) -> bool {
        let mut state = self.state();
        if state.asleep_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        if state.asleep_until.is_some() {
            state.asleep_until = Some(self.morning());
        }
        true
    }

    /// Not all processes ask at the same moment.
    fn morning(&self) -> Instant {
        Instant::now() + self.rest.mul_f64(0.5 + fastrand::f64())
    }
}

/// What was taken, until its taker has it.
struct Taken<T, U: Fn(&T) -> Option<Cmd>> {
    answer: Option<T>,
    undo: U,
    server: Arc<Server>,
}

impl<T, U: Fn(&T) -> Option<Cmd>> Drop for Taken<T, U> {
    fn drop(&mut self) {
        if let Some(command) = self.answer.as_ref().and_then(&self.undo) {
            self.server.state().asleep_until = None; // it answers
            self.server.finish(command);
        }
    }
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// What a person has to put right before anything can be decided: credentials that
/// are refused, a server without Floodgate.
fn is_misconfiguration(error: &RedisError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    let unknown = text.contains("unknown command")
        && ["rl.acquire", "rl.help", "rl.reserve", "cb.acquire"].iter().any(|name| text.contains(name));
    unknown
        || error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "DENIED"].contains(&code(error).as_str())
}

fn is_outage(error: &RedisError) -> bool {
    const CANNOT: [&str; 10] = [
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
    ];
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || CANNOT.contains(&code(error).as_str())
}

/// The first word of what the server says; of a pipeline, to the first command.
fn code(error: &RedisError) -> String {
    let first = error.clone().into_server_errors().and_then(|all| Some(all.first()?.1.code().to_owned()));
    first.unwrap_or_else(|| error.code().unwrap_or_default().to_owned())
}

/// What can be asked over a connection.
pub trait Question {
    fn put<T: FromRedisValue>(
        &self,
        connection: MultiplexedConnection,
    ) -> impl Future<Output = RedisResult<T>> + Send;
}

impl Question for &Cmd {
    async fn put<T: FromRedisValue>(&self, mut connection: MultiplexedConnection) -> RedisResult<T> {
        self.query_async(&mut connection).await
    }
}

impl Question for &redis::Pipeline {
    async fn put<T: FromRedisValue>(&self, mut connection: MultiplexedConnection) -> RedisResult<T> {
        self.query_async(&mut connection).await
    }
}

/// Takes units from limits that all processes share.
pub struct Limiter {
    pub server: Arc<Server>,
    pub fallback: Fallback,
}

impl Limiter {
    pub fn new(server: Arc<Server>, fallback: Fallback) -> Arc<Self> {
        Arc::new(Self { server, fallback })
    }

    /// Takes `cost` units from every limit, or from none.
    pub async fn acquire(&self, key: &str, limits: &str, cost: u64) -> RedisResult<Decision> {
        let mut command = redis::cmd("RL.ACQUIRE");
        command.arg(key).arg(limits).arg("COST").arg(cost);
        self.or_alone(self.server.ask(&command).await, key, cost)
    }

    /// The same, but stands in line for so long.
    pub async fn wait(&self, key: &str, limits: &str, cost: u64, wait: Duration) -> RedisResult<Decision> {
        let mut command = redis::cmd("RL.ACQUIRE");
        command.arg(key).arg(limits).arg("COST").arg(cost);
        self.or_alone(self.server.wait(wait, &mut command).await, key, cost)
    }

    /// One unit, and the headers for the HTTP response, in one round trip.
    pub async fn acquire_with_headers(
        &self,
        key: &str,
        limits: &str,
    ) -> RedisResult<(Decision, HashMap<String, String>)> {
        // A transaction, not `atomic`: with that redis-rs 1.8 panics where MULTI itself
        // is refused.
        let mut both = redis::pipe();
        both.cmd("MULTI").ignore();
        both.cmd("RL.ACQUIRE").arg(key).arg(limits).ignore();
        both.cmd("RL.QUOTA").arg(key).arg(limits).arg("HEADERS").ignore();
        both.cmd("EXEC");
        let (decision, mut headers) =
            match self.server.ask::<[(Decision, HashMap<String, String>); 1]>(&both).await {
                Ok([answers]) => answers,
                Err(Undecided::Away) => (self.fallback.acquire(key, 1), HashMap::new()),
                Err(Undecided::Refused(error)) => return Err(error),
            };
        // RL.QUOTA speaks of the next request.
        headers.remove("Retry-After");
        if let Some(seconds) = decision.retry_after_s() {
            headers.insert("Retry-After".into(), seconds.to_string());
        }
        Ok((decision, headers))
    }

    fn or_alone(&self, answer: Result<Decision, Undecided>, key: &str, cost: u64) -> RedisResult<Decision> {
        match answer {
            Ok(decision) => Ok(decision),
            Err(Undecided::Away) => Ok(self.fallback.acquire(key, cost)),
            Err(Undecided::Refused(error)) => Err(error),
        }
    }
}
