//! The denials that a limiter remembers, so that it need not ask.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::decision::{Decision, Source};

/// Denials, each remembered until its retry time, at most 1 s. Meanwhile a request of the same key and
/// limits at an equal or higher cost is denied without asking.
#[derive(Default)]
pub(crate) struct Denials {
    known: Mutex<HashMap<String, Vec<Denial>>>,
}

struct Denial {
    limits: String,
    cost: u64,
    since: Instant,
    until: Instant,
    decision: Decision,
}

impl Denials {
    const LONGEST: Duration = Duration::from_secs(1);
    const MOST_KEYS: usize = 10_000;
    /// The most denials of one key that are remembered.
    const MOST_LIMITS: usize = 16;

    /// The denial that still holds, with the time that is left of it; `None` if none does.
    pub(crate) fn recall(&self, key: &str, limits: &str, cost: u64, now: Instant) -> Option<Decision> {
        let known = self.known();
        let denial = known
            .get(key)?
            .iter()
            .find(|denial| denial.limits == limits && denial.cost <= cost && now < denial.until)?;
        let passed = i64::try_from(now.saturating_duration_since(denial.since).as_millis()).ok()?;
        let Decision { retry_after_ms, reset_after_ms, .. } = denial.decision;
        Some(Decision {
            retry_after_ms: if retry_after_ms < 0 { -1 } else { (retry_after_ms - passed).max(1) },
            reset_after_ms: if reset_after_ms < 0 {
                reset_after_ms
            } else {
                (reset_after_ms - passed).max(0)
            },
            source: Source::Memory,
            ..denial.decision
        })
    }

    /// Remembers the decision on a request that was sent at `asked`. That is earlier than it was
    /// decided, so that nothing is remembered for too long.
    pub(crate) fn learn(&self, key: &str, limits: &str, cost: u64, decision: Decision, asked: Instant) {
        let lasts = match u64::try_from(decision.retry_after_ms) {
            Ok(ms) => Duration::from_millis(ms).min(Self::LONGEST),
            Err(_) => Self::LONGEST,
        };
        if decision.is_granted() || lasts.is_zero() || decision.source != Source::Redis {
            return;
        }
        let Some(until) = asked.checked_add(lasts) else { return };
        let mut known = self.known();
        if known.len() >= Self::MOST_KEYS && !known.contains_key(key) {
            known.retain(|_, denials| denials.iter().any(|denial| asked < denial.until));
            if known.len() >= Self::MOST_KEYS {
                known.clear();
            }
        }
        let denials = known.entry(key.to_owned()).or_default();
        // What is over, and what this one says too.
        denials.retain(|old| {
            asked < old.until && !(old.limits == limits && cost <= old.cost && old.until <= until)
        });
        if denials.len() < Self::MOST_LIMITS {
            denials.push(Denial { limits: limits.to_owned(), cost, since: asked, until, decision });
        }
    }

    /// Forgets the denials of a key, after units of it were given back.
    pub(crate) fn forget(&self, key: &str) {
        self.known().remove(key);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Vec<Denial>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
