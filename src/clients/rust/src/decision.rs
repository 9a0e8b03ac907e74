//! What a limit answers.

use redis::{FromRedisValue, ParsingError, Value};

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Redis.
    Redis,
    /// A denial by Redis that was remembered: see [`Limiter`](crate::Limiter).
    Memory,
    /// A block of units that Redis has granted to this process: see [`Lease`](crate::Lease).
    Lease,
    /// The fallback, because Redis is away.
    Fallback,
}

/// The six integers of RL.ACQUIRE, and who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Units that were granted; 0 where it was denied.
    pub granted: u64,
    /// The units of the limit that decided; -1 where nothing limits.
    pub limit: i64,
    /// The units that are left of it.
    pub remaining: i64,
    /// Milliseconds until the same request may be granted; -1: never.
    pub retry_after_ms: i64,
    /// Milliseconds until all units are free again.
    pub reset_after_ms: i64,
    /// Which of the limits decided, from 0; below 0 where it was none of them.
    pub index: i64,
    /// Who decided.
    pub source: Source,
}

impl Decision {
    /// Whether units were granted.
    pub fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// For the header Retry-After: whole seconds, at least one; none where it was
    /// granted, or never will be.
    pub fn retry_after_s(&self) -> Option<u64> {
        if self.is_granted() { None } else { seconds(self.retry_after_ms) }
    }

    pub(crate) fn alone(granted: u64, limit: i64, remaining: i64, retry_after_ms: i64) -> Self {
        let source = Source::Fallback;
        Self { granted, limit, remaining, retry_after_ms, reset_after_ms: 0, index: 0, source }
    }

    /// The one that denies for longest.
    pub(crate) fn longest(decisions: impl IntoIterator<Item = Self>) -> Option<Self> {
        // Never is longest.
        decisions
            .into_iter()
            .max_by_key(|decision| u64::try_from(decision.retry_after_ms).unwrap_or(u64::MAX))
    }
}

/// Whole seconds, at least one; none where the milliseconds are -1: never.
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
