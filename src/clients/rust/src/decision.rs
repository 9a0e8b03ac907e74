//! The answer of a limit.

use redis::{FromRedisValue, ParsingError, Value};

/// Which part decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Redis decided.
    Redis,
    /// The request was denied from memory, by a denial of Redis that still holds: see [`Limiter`](crate::Limiter).
    Memory,
    /// The units came out of a block that Redis had granted to this process: see [`Lease`](crate::Lease).
    Lease,
    /// The fallback decided, because Redis is away.
    Fallback,
}

/// The six integers that RL.ACQUIRE replies, and which part decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of units granted; 0 if the request was denied.
    pub granted: u64,
    /// The capacity of the limit that decided; -1 if nothing limits.
    pub limit: i64,
    /// The number of units left on that limit; -1 if nothing limits.
    pub remaining: i64,
    /// Milliseconds until the same request may be granted; -1 if it never will be.
    pub retry_after_ms: i64,
    /// Milliseconds until all units are free again; -1 for a credit.
    pub reset_after_ms: i64,
    /// The position of the limit that decided, from 0; below 0 if no limit did.
    pub index: i64,
    /// Which part decided.
    pub source: Source,
}

impl Decision {
    /// Returns whether units were granted.
    pub fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// Returns the value of the header `Retry-After` in whole seconds, at least 1. `None` if the
    /// request was granted or never will be.
    pub fn retry_after_s(&self) -> Option<u64> {
        if self.is_granted() { None } else { seconds(self.retry_after_ms) }
    }

    pub(crate) fn alone(granted: u64, limit: i64, remaining: i64, retry_after_ms: i64) -> Self {
        let source = Source::Fallback;
        Self { granted, limit, remaining, retry_after_ms, reset_after_ms: 0, index: 0, source }
    }

    /// The decision that denies for longest.
    pub(crate) fn longest(decisions: impl IntoIterator<Item = Self>) -> Option<Self> {
        // Never is longest.
        decisions
            .into_iter()
            .max_by_key(|decision| u64::try_from(decision.retry_after_ms).unwrap_or(u64::MAX))
    }
}

/// Whole seconds, at least 1; `None` if the milliseconds are -1, which means never.
pub(crate) fn seconds(ms: i64) -> Option<u64> {
    Some(u64::try_from(ms).ok()?.div_ceil(1000).max(1))
}

impl FromRedisValue for Decision {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (granted, limit, remaining, retry_after_ms, reset_after_ms, index) =
            redis::from_redis_value(value)?;
        let source = Source::Redis;
        Ok(Self { granted, limit, remaining, retry_after_ms, reset_after_ms, index, source })
    }
}
