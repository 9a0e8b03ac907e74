//! Reservations: units are taken now and settled later, when the cost of the work is known.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use redis::Cmd;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use crate::decision::Decision;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::manner::{Manner, manner_methods};
use crate::server::{Server, ms};

/// The most units that one command charges.
const MOST_UNITS: u64 = 1_000_000_000_000;

/// The reason why nothing was reserved.
#[derive(Debug)]
pub enum ReserveError {
    /// The limits deny the reservation.
    Denied(Decision),
    /// Redis refuses the command.
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

/// The reply of RL.RESERVE: the ID if it is reserved, and the decision of each key.
type ReserveReply = (Option<String>, Vec<Decision>);

/// A request for a reservation. [`Limiter::reserve`] makes it, and it is sent when it is awaited.
#[must_use = "it reserves nothing until it is awaited"]
#[derive(Clone, Copy)]
pub struct Reserve<'a> {
    limiter: &'a Limiter,
    limits: &'a [(&'a str, &'a str)],
    estimate: u64,
    ttl: Duration,
    manner: Manner,
}

impl<'a> Reserve<'a> {
    pub(crate) fn new(limiter: &'a Limiter, limits: &'a [(&'a str, &'a str)]) -> Self {
        let ttl = Duration::from_secs(30);
        Self { limiter, limits, estimate: 1, ttl, manner: Manner::default() }
    }

    /// Sets the number of units that are reserved of every key (1).
    pub fn estimate(mut self, units: u64) -> Self {
        self.estimate = units;
        self
    }

    /// Sets the time after which the places of a process that died are free (30 s). The crate renews
    /// the reservation for as long as the process lives.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    manner_methods! {
        "What was reserved meanwhile is then given back."
        ""
        "Only a reservation of one key can wait."
    }

    async fn reserved(self) -> Result<Reservation, ReserveError> {
        let Self { limiter, limits, estimate, ttl, manner } = self;
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
        if manner.is_critical {
            command.arg("CRITICAL");
        }
        // A reservation whose caller is gone before the answer comes is released.
        let release = reservation.settled("RL.RELEASE");
        let answer = if let Some(wait) = manner.wait {
            limiter.server.take_in_line(wait, command, release, |(id, _): &ReserveReply| id.is_some()).await
        } else {
            let undo = move |(id, _): &ReserveReply| id.iter().map(|_| release.clone()).collect();
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

/// Units that are held. A reservation that is dropped without [`Reservation::commit`], as by `?` or
/// with its future, charges what was spent until then, or gives all back if nothing was. The crate
/// renews the reservation for as long as it lives. When a process dies, its places are free at the end
/// of the time that [`Reserve::ttl`] sets.
#[must_use = "dropped, it gives back what it holds"]
pub struct Reservation {
    server: Server,
    id: String,
    keys: Vec<String>,
    spent: Option<u64>,
    /// False if the fallback granted it, and once it is settled.
    is_open: bool,
    renewing: Option<AbortHandle>,
    runtime: Handle,
}

impl Reservation {
    /// Adds units to those that the work has cost so far. At most 10^12 units are charged.
    pub fn spend(&mut self, units: u64) {
        self.spent = Some(self.spent.unwrap_or(0).saturating_add(units));
    }

    /// Settles the reservation after the work succeeded. The units that were spent are charged, or the
    /// estimate if none were reported.
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
