//! Floodgate for a service in Rust: limits, a breaker round a call, and what
//! happens when Redis is away. Copy it; it needs nothing but redis-rs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisError, RedisResult};

/// What holds while Redis is away. Choose for each limiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Away {
    /// Everything passes: right where an outage costs more than a flood.
    Open,
    /// Nothing passes: right where a flood costs more, as with logins.
    Closed,
    /// Each process limits on its own, to so many a second: right in between;
    /// with N processes up to N times that passes in all.
    Local(f64),
}

/// What RL.ACQUIRE answered, or what holds without it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Redis decided: the six integers.
    Shared { granted: u64, limit: i64, remaining: i64, retry_after_ms: i64, index: i64 },
    /// Redis is away.
    Alone { granted: u64 },
}

impl Decision {
    pub fn granted(self) -> u64 {
        match self {
            Self::Shared { granted, .. } | Self::Alone { granted } => granted,
        }
    }
}

/// A connection that gives up quickly, and after a failure rests, so that an
/// outage costs one request its timeout and not each of them.
pub struct Reach {
    client: Client,
    connection: Option<Connection>,
    rest: Duration,
    until: Option<Instant>,
}

impl Reach {
    const PATIENCE: Duration = Duration::from_millis(250);

    pub fn new(url: &str, rest: Duration) -> RedisResult<Self> {
        Ok(Self { client: Client::open(url)?, connection: None, rest, until: None })
    }

    /// The answer; none when Redis is away.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> RedisResult<Option<T>> {
        if self.until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        match self.connected().and_then(|connection| command.query(connection)) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_outage(&error) => {
                self.connection = None;
                self.until = Some(Instant::now() + self.rest);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn connected(&mut self) -> RedisResult<&mut Connection> {
        if self.connection.is_none() {
            let connection = self.client.get_connection_with_timeout(Self::PATIENCE)?;
            connection.set_read_timeout(Some(Self::PATIENCE))?;
            connection.set_write_timeout(Some(Self::PATIENCE))?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| RedisError::from(std::io::Error::other("no connection")))
    }
}

fn is_outage(error: &RedisError) -> bool {
    error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
}

/// Takes units from limits that all processes share.
pub struct Limiter {
    pub reach: Reach,
    pub away: Away,
    local: HashMap<String, (f64, Instant)>,
}

impl Limiter {
    pub fn new(reach: Reach, away: Away) -> Self {
        Self { reach, away, local: HashMap::new() }
    }

    /// Takes `cost` units from every limit, or from none.
    ///
    /// # Errors
    /// What the server refuses, such as malformed limits.
    pub fn acquire(&mut self, key: &str, limits: &str, cost: u64) -> RedisResult<Decision> {
        let mut command = redis::cmd("RL.ACQUIRE");
        command.arg(key).arg(limits).arg("COST").arg(cost);
        let six: Option<(u64, i64, i64, i64, i64, i64)> = self.reach.ask(&command)?;
        Ok(match six {
            Some((granted, limit, remaining, retry_after_ms, _, index)) => {
                Decision::Shared { granted, limit, remaining, retry_after_ms, index }
            }
            None => Decision::Alone { granted: self.alone(key, cost) },
        })
    }

    fn alone(&mut self, key: &str, cost: u64) -> u64 {
        let rate = match self.away {
            Away::Open => return cost,
            Away::Closed => return 0,
            Away::Local(rate) => rate,
        };
        if self.local.len() > 10_000 {
            self.local.clear();
        }
        // A bucket of one second's worth.
        let now = Instant::now();
        let (level, since) = self.local.entry(key.to_owned()).or_insert((rate, now));
        *level = (*level + now.duration_since(*since).as_secs_f64() * rate).min(rate);
        *since = now;
        if *level < cost as f64 {
            return 0;
        }
        *level -= cost as f64;
        cost
    }
}

/// Why a call gave nothing.
#[derive(Debug, PartialEq)]
pub enum Failed<E> {
    /// The circuit is open: the call was not made.
    Open { retry_after_ms: i64 },
    /// The call itself failed.
    Call(E),
    /// The server refuses the breaker.
    Refused(String),
}

/// A circuit breaker that all processes share. While Redis is away calls go
/// through: a breaker protects the callee, and without it things are as they
/// were before there was one.
pub fn guarded<T, E>(
    reach: &mut Reach,
    key: &str,
    breaker: &str,
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Failed<E>> {
    let asked = reach.ask(redis::cmd("CB.ACQUIRE").arg(key).arg(breaker));
    let answer: Option<(bool, String, Option<String>, i64)> =
        asked.map_err(|error| Failed::Refused(error.to_string()))?;
    let token = match answer {
        None => None,
        Some((true, _, token, _)) => token,
        Some((false, _, _, retry_after_ms)) => return Err(Failed::Open { retry_after_ms }),
    };
    let start = Instant::now();
    let result = call();
    if let Some(token) = token {
        let outcome = if result.is_ok() { "OK" } else { "FAIL" };
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut report = redis::cmd("CB.REPORT");
        report.arg(key).arg(outcome).arg("TOKEN").arg(token).arg("DUR").arg(ms);
        // What the call gave counts more than that it could be reported.
        let _ = reach.ask::<redis::Value>(&report);
    }
    result.map_err(Failed::Call)
}
