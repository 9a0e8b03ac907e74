//! How a key stands with its limits.

use std::collections::HashMap;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

/// How a key stands: what RL.QUOTA replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Limit by limit.
    pub limits: Vec<LimitStatus>,
    /// Set while an operator blocks the key.
    pub blocked: Option<Blocked>,
}

/// How a key stands with one of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// As the limit is written, or its name.
    pub name: String,
    /// `sliding`, `bucket`, `fixed` or `concurrent`.
    pub algorithm: String,
    /// The units of a period.
    pub limit: i64,
    /// Those that are used.
    pub used: i64,
    /// Those that are left.
    pub remaining: i64,
    /// The period in milliseconds.
    pub period_ms: i64,
    /// Milliseconds until the cost that was asked for fits; -1: never.
    pub retry_after_ms: i64,
    /// Milliseconds until all units are free again.
    pub reset_after_ms: i64,
    /// The same as a time: milliseconds since 1970.
    pub reset_at_ms: i64,
    /// Whether it only counts, and never denies.
    pub is_shadow: bool,
    /// Who says that it holds: the caller, a pin, or a policy.
    pub source: String,
}

/// That an operator blocks a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Until when, in milliseconds since 1970; -1: for ever.
    pub until_ms: i64,
    /// What the operator said.
    pub reason: String,
}

/// The fields of a map, by name.
struct Fields(HashMap<String, Value>);

impl Fields {
    fn take<T: FromRedisValue>(&mut self, name: &str) -> Result<T, ParsingError> {
        let value =
            self.0.remove(name).ok_or_else(|| ParsingError::from(format!("RL.QUOTA told no {name}")))?;
        from_redis_value(value)
    }
}

impl FromRedisValue for Quota {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut quota = Self { limits: Vec::new(), blocked: None };
        for fields in from_redis_value::<Vec<HashMap<String, Value>>>(value)? {
            let mut fields = Fields(fields);
            if fields.0.contains_key("blocked") {
                let mut block = Fields(fields.take("blocked")?);
                quota.blocked =
                    Some(Blocked { until_ms: block.take("until")?, reason: block.take("reason")? });
                continue;
            }
            quota.limits.push(LimitStatus {
                name: fields.take("name")?,
                algorithm: fields.take("algorithm")?,
                limit: fields.take("limit")?,
                used: fields.take("used")?,
                remaining: fields.take("remaining")?,
                period_ms: fields.take("period_ms")?,
                retry_after_ms: fields.take("retry_after_ms")?,
                reset_after_ms: fields.take("reset_after_ms")?,
                reset_at_ms: fields.take("reset_at_ms")?,
                is_shadow: fields.take("shadow")?,
                source: fields.take("source")?,
            });
        }
        Ok(quota)
    }
}
