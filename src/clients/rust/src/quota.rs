//! The state of a key and of its limits.

use std::collections::HashMap;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

/// The state of a key, as RL.QUOTA replies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The state of each limit.
    pub limits: Vec<LimitStatus>,
    /// The block of an operator; `None` if the key is not blocked.
    pub blocked: Option<Blocked>,
}

/// The state of one limit of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// The name of the limit, or its text if it has no name.
    pub name: String,
    /// The algorithm: `sliding`, `bucket`, `fixed` or `concurrent`.
    pub algorithm: String,
    /// The capacity: the units of a period, or the burst of a bucket.
    pub limit: i64,
    /// The number of units in use.
    pub used: i64,
    /// The number of units left.
    pub remaining: i64,
    /// The period in milliseconds; -1 for a credit.
    pub period_ms: i64,
    /// Milliseconds until a request for the cost that was named would be granted; -1 if it never will be.
    pub retry_after_ms: i64,
    /// Milliseconds until all units are free again; -1 for a credit.
    pub reset_after_ms: i64,
    /// The time at which all units are free again, in Unix milliseconds; -1 for a credit.
    pub reset_at_ms: i64,
    /// Whether the limit only counts its denials, and never denies.
    pub is_shadow: bool,
    /// The source of the limit: `pin`, `call`, `policy`, `default`, or `last` for the key's last grant.
    pub source: String,
}

/// The block of an operator on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The end of the block in Unix milliseconds; -1 if it has no end.
    pub until_ms: i64,
    /// The reason that the operator gave.
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
