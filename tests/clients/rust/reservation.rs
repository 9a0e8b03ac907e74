//! Take now, settle later: for the tokens of a language model, whose number is
//! known afterwards. Copy it with floodgate.rs.
//!
//! ```text
//! let mut reservation = reserve(&limiter, &[(&key, "100000/m,concurrent:5")], 1500, ttl).await?;
//! while let Some(chunk) = model.next().await {
//!     reservation.spend(chunk?.tokens);
//! }
//! reservation.commit().await;
//! ```

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisError};
use tokio::task::{AbortHandle, JoinHandle};

use crate::floodgate::{Decision, Limiter, Server, Undecided};

/// Why nothing was reserved.
#[derive(Debug)]
pub enum Unreserved {
    /// The limits deny it.
    Denied(Decision),
    /// The server refuses.
    Refused(RedisError),
}

/// Units that are held. Dropped without [`Reservation::commit`], as by `?` or
/// when its future is dropped, it charges what was spent until then, or gives
/// all back when nothing was. It is renewed for as long as it lives; of a process
/// that dies, places are free when its time is over.
pub struct Reservation {
    server: Arc<Server>,
    id: String,
    keys: Vec<String>,
    spent: Option<u64>,
    open: bool,
    renewing: Option<AbortHandle>,
}

/// Reserves the estimate on every key.
pub async fn reserve(
    limiter: &Limiter,
    limits: &[(&str, &str)],
    estimate: u64,
    ttl: Duration,
) -> Result<Reservation, Unreserved> {
    let mut reservation = Reservation {
        server: Arc::clone(&limiter.server),
        // Ours, so that asking twice reserves once.
        id: format!("{:032x}", fastrand::u128(..)),
        keys: limits.iter().map(|(key, _)| (*key).to_owned()).collect(),
        spent: None,
        open: false,
        renewing: None,
    };
    let lasts = format!("{}ms", ttl.as_millis());
    let mut command = redis::cmd("RL.RESERVE");
    command.arg(limits.len());
    for (key, limits) in limits {
        command.arg(key).arg(limits);
    }
    command.arg("COST").arg(estimate).arg("TTL").arg(&lasts).arg("ID").arg(&reservation.id);
    // Dropped before the answer came, or out of patience: it is released.
    let mut release = redis::cmd("RL.RELEASE");
    release.arg(&reservation.id).arg(reservation.keys.len()).arg(&reservation.keys);
    let undo = move |(id, _): &(Option<String>, Vec<Decision>)| id.as_ref().map(|_| release.clone());
    match limiter.server.take(command, undo).await {
        Ok((Some(_), _)) => {
            reservation.open = true;
            let mut renewal = redis::cmd("RL.RENEW");
            renewal.arg(&reservation.id).arg("TTL").arg(&lasts);
            renewal.arg(reservation.keys.len()).arg(&reservation.keys);
            let server = Arc::clone(&limiter.server);
            let renewing = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(ttl / 3).await;
                    let _ = server.finish(renewal.clone()).await;
                }
            });
            reservation.renewing = Some(renewing.abort_handle());
            Ok(reservation)
        }
        Ok((None, decisions)) => {
            // Never, then the longest.
            let longest = decisions.into_iter().max_by_key(|decision| decision.retry_after_ms as u64);
            Err(Unreserved::Denied(longest.unwrap_or_else(|| limiter.fallback.acquire("", estimate))))
        }
        Err(Undecided::Away) => {
            let key = limits.last().map_or("", |(key, _)| key);
            let alone = limiter.fallback.acquire(key, estimate);
            if alone.granted == 0 { Err(Unreserved::Denied(alone)) } else { Ok(reservation) }
        }
        Err(Undecided::Refused(error)) => Err(Unreserved::Refused(error)),
    }
}

impl Reservation {
    /// Adds to what the work has cost so far.
    pub fn spend(&mut self, units: u64) {
        self.spent = Some(self.spent.unwrap_or(0).saturating_add(units));
    }

    /// The work succeeded: what was spent is charged; the estimate where that
    /// was never said.
    pub async fn commit(mut self) {
        if let Some(told) = self.settle("RL.COMMIT") {
            let _ = told.await;
        }
    }

    fn settle(&mut self, command: &str) -> Option<JoinHandle<()>> {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        if !std::mem::take(&mut self.open) {
            return None;
        }
        let mut settled = Cmd::new();
        settled.arg(command).arg(&self.id).arg(self.keys.len()).arg(&self.keys);
        if let Some(units) = self.spent.filter(|_| command == "RL.COMMIT") {
            settled.arg("COST").arg(units);
        }
        Some(self.server.finish(settled))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(if self.spent.is_some() { "RL.COMMIT" } else { "RL.RELEASE" });
    }
}
