//! What decides while Redis is away.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::decision::Decision;

/// Decides while Redis is away. Each limiter has its own.
pub trait Fallback: Send + Sync + 'static {
    /// Takes `cost` units of a key, or none.
    fn acquire(&self, key: &str, cost: u64) -> Decision;

    /// Gives units back that this fallback granted.
    fn refund(&self, _key: &str, _units: u64) {}
}

/// Grants everything. It is right where an outage costs more than a flood.
#[derive(Clone, Copy, Debug)]
pub struct FailOpen;

impl Fallback for FailOpen {
    fn acquire(&self, _: &str, cost: u64) -> Decision {
        Decision::alone(cost, -1, -1, 0)
    }
}

/// Denies everything. It is right where a flood costs more than an outage, as with logins.
#[derive(Clone, Copy, Debug)]
pub struct FailClosed;

impl Fallback for FailClosed {
    fn acquire(&self, _: &str, _: u64) -> Decision {
        Decision::alone(0, 0, 0, 1000)
    }
}

/// Grants by a token bucket for each key in each process. So N processes together grant up to N times
/// as much as one.
#[derive(Debug)]
pub struct LocalBucket {
    rate: f64,
    burst: f64,
    levels: Mutex<HashMap<String, Level>>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    units: f64,
    since: Instant,
}

impl LocalBucket {
    const MOST_KEYS: usize = 10_000;

    /// Makes buckets that refill with `rate` units a second, and hold as many, at least 1. If the rate
    /// is not above 0, no unit comes back.
    pub fn new(rate: f64) -> Self {
        let rate = if rate > 0.0 { rate } else { 0.0 };
        Self { rate, burst: rate.max(1.0), levels: Mutex::default() }
    }

    /// Sets the number of units that a bucket holds.
    #[must_use]
    pub fn burst(mut self, burst: f64) -> Self {
        self.burst = burst.max(0.0);
        self
    }

    fn levels(&self) -> MutexGuard<'_, HashMap<String, Level>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn units(&self, level: Level, now: Instant) -> f64 {
        self.burst.min(level.units + now.saturating_duration_since(level.since).as_secs_f64() * self.rate)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a conversion from a float ends at the type's bounds, and units beyond 2^53 are as good as their neighbours"
)]
impl Fallback for LocalBucket {
    fn acquire(&self, key: &str, cost: u64) -> Decision {
        let (now, wanted) = (Instant::now(), cost as f64);
        let mut levels = self.levels();
        if levels.len() >= Self::MOST_KEYS && !levels.contains_key(key) {
            // Those that are full again are as good as new.
            levels.retain(|_, level| self.units(*level, now) < self.burst);
            if levels.len() >= Self::MOST_KEYS {
                levels.clear();
            }
        }
        let level = levels.entry(key.to_owned()).or_insert(Level { units: self.burst, since: now });
        let units = self.units(*level, now);
        let is_granted = wanted <= units;
        let left = if is_granted { units - wanted } else { units };
        *level = Level { units: left, since: now };
        let retry_after_ms = if is_granted {
            0
        } else if wanted <= self.burst && self.rate > 0.0 {
            ((wanted - units) / self.rate * 1000.0).ceil() as i64
        } else {
            -1
        };
        Decision::alone(if is_granted { cost } else { 0 }, self.burst as i64, left as i64, retry_after_ms)
    }

    fn refund(&self, key: &str, units: u64) {
        if let Some(level) = self.levels().get_mut(key) {
            level.units = self.burst.min(level.units + units as f64);
        }
    }
}
