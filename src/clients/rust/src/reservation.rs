//! Take now, settle later: for work whose cost is known afterwards.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use redis::Cmd;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::server::{Server, ms};

/// Of one command: more cannot be charged at once.
const MOST_UNITS: u64 = 1_000_000_000_000;

/// Why nothing was reserved.
#[derive(Debug)]
pub enum ReserveError {
    /// The limits deny it.
    Denied(Decision),
    /// Redis refuses it.
    Undecided(Error),
}

impl fmt::Display for ReserveError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(Decision { retry_after_ms: ..0, .. }) => write!(out, "denied: it never fits"),
            Self::Denied(decision) => write!(out, "denied, retry after {} ms", decision.retry_after_ms),
            Self::Undecided(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for ReserveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(_) => None,
            Self::Undecided(error) => Some(error),
        }
    }
}

/// Of RL.RESERVE: the id where it is reserved, and what each key decided.
type Answer = (Option<String>, Vec<Decision>);

/// A reservation to be, made by [`Limiter::reserve`] and asked for when it is awaited.
#[must_use = "it reserves nothing until it is awaited"]
#[derive(Clone, Copy)]
pub struct Reserve<'a> {
    limiter: &'a Limiter,
    limits: &'a [(&'a str, &'a str)],
    estimate: u64,
    ttl: Duration,
    wait: Option<Duration>,
    is_critical: bool,
}

impl<'a> Reserve<'a> {
    pub(crate) fn new(limiter: &'a Limiter, limits: &'a [(&'a str, &'a str)]) -> Self {
        let ttl = Duration::from_secs(30);
        Self { limiter, limits, estimate: 1, ttl, wait: None, is_critical: false }
    }

    /// So many units of every key.
    pub fn estimate(mut self, units: u64) -> Self {
        self.estimate = units;
        self
    }

    /// When a process dies, its places are free after this time (30 s). The crate renews the
    /// reservation for as long as it lives.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Stands in line for so long, first come first served over all processes; with one
    /// key only. Who drops the future leaves the line, and gives back what was reserved
    /// meanwhile.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// May use the part that `keep=` keeps for such requests.
    pub fn critical(mut self) -> Self {
        self.is_critical = true;
        self
    }

    async fn reserved(self) -> Result<Reservation, ReserveError> {
        let Self { limiter, limits, estimate, ttl, wait, is_critical } = self;
        let mut reservation = Reservation {
            server: limiter.server.clone(),
            // Chosen here, so that asking twice reserves once.
            id: format!("{:032x}", fastrand::u128(..)),
            keys: limits.iter().map(|(key, _)| (*key).to_owned()).collect(),
            spent: None,
            is_open: false,
            renewing: None,
            runtime: Handle::current(),
        };
        let mut command = redis::cmd("RL.RESERVE");
        command.arg(limits.len());
        for (key, limits) in limits {
            command.arg(key).arg(limits);
        }
        command.arg("COST").arg(estimate).arg("TTL").arg(ms(ttl)).arg("ID").arg(&reservation.id);
        if is_critical {
            command.arg("CRITICAL");
        }
        // Dropped before the answer came, or out of patience: it is released.
        let release = reservation.settled("RL.RELEASE");
        let answer = if let Some(wait) = wait {
            limiter.server.take_in_line(wait, command, release).await
        } else {
            let undo = move |(id, _): &Answer| id.iter().map(|_| release.clone()).collect();
            limiter.server.take(command, undo).await
        };
        match answer {
            Ok((Some(_), _)) => {
                limiter.counts.by_redis();
                reservation.is_open = true;
                reservation.renew(ttl);
                Ok(reservation)
            }
            Ok((None, decisions)) => {
                limiter.counts.by_redis();
                let never = Decision::alone(0, 0, 0, -1);
                Err(ReserveError::Denied(Decision::longest(decisions).unwrap_or(never)))
            }
            Err(Error::Away) => {
                limiter.counts.by_fallback();
                let alone = limiter.fallback.acquire(limits.last().map_or("", |(key, _)| key), estimate);
                if alone.is_granted() { Ok(reservation) } else { Err(ReserveError::Denied(alone)) }
            }
            Err(error) => Err(ReserveError::Undecided(error)),
        }
    }
}

impl<'a> IntoFuture for Reserve<'a> {
    type Output = Result<Reservation, ReserveError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.reserved())
    }
}

/// Units that are held. Dropped without [`Reservation::commit`], as by `?` or when its
/// future is dropped, it charges what was spent until then, or gives all back when
/// nothing was. The crate renews it for as long as it lives. When a process dies, its places
/// are free when the time is over.
#[must_use = "dropped, it gives back what it holds"]
pub struct Reservation {
    server: Server,
    id: String,
    keys: Vec<String>,
    spent: Option<u64>,
    /// Not while Redis is away, and not once it is settled.
    is_open: bool,
    renewing: Option<AbortHandle>,
    runtime: Handle,
}

impl Reservation {
    /// Adds to what the work has cost so far. At most 10^12 units are charged.
    pub fn spend(&mut self, units: u64) {
        self.spent = Some(self.spent.unwrap_or(0).saturating_add(units));
    }

    /// The work succeeded: what was spent is charged; the estimate where that was never
    /// said.
    pub async fn commit(mut self) {
        if let Some(told) = self.settle("RL.COMMIT") {
            let _ = told.await; // it does not fail
        }
    }

    fn renew(&mut self, ttl: Duration) {
        let mut renewal = redis::cmd("RL.RENEW");
        renewal.arg(&self.id).arg("TTL").arg(ms(ttl)).arg(self.keys.len()).arg(&self.keys);
        let (server, runtime) = (self.server.clone(), self.runtime.clone());
        let pause = (ttl / 3).max(Duration::from_millis(1));
        let renewing = self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let _ = server.finish(&runtime, renewal.clone()).await; // it does not fail
            }
        });
        self.renewing = Some(renewing.abort_handle());
    }

    fn settle(&mut self, command: &str) -> Option<JoinHandle<()>> {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        if !std::mem::take(&mut self.is_open) {
            return None;
        }
        let mut settled = self.settled(command);
        if let Some(units) = self.spent.filter(|_| command == "RL.COMMIT") {
            settled.arg("COST").arg(units.min(MOST_UNITS));
        }
        Some(self.server.finish(&self.runtime, settled))
    }

    fn settled(&self, command: &str) -> Cmd {
        let mut settled = redis::cmd(command);
        settled.arg(&self.id).arg(self.keys.len()).arg(&self.keys);
        settled
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(if self.spent.is_some() { "RL.COMMIT" } else { "RL.RELEASE" });
    }
}
