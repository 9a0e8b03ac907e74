//! The figures of a limit, read from the replies of RL.BATCH and RL.QUOTA.

use redis::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// The figures of the binding limit of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// True if the limit denies what the request asks for.
    pub over: bool,
    /// The capacity. `None` if unlimited.
    pub capacity: Option<u64>,
    /// The whole units that are left. `None` if unlimited.
    pub remaining: Option<u64>,
    /// The time until the same request would be granted, in milliseconds: 0 for now, -1 for never.
    pub retry_ms: i64,
    /// The time until the limit is full again, in milliseconds; -1 for never.
    pub reset_ms: i64,
    /// The position of the limit in its rule, if it is known.
    pub index: Option<usize>,
    /// True if the server has other limits for the key, which win: a pin, or its own limits where
    /// callers may not name any. It is known only after a look at the limit.
    pub overruled: bool,
}

/// The `index` of a reply if the request was denied because of other items.
const DENIED_BY_OTHERS: i64 = -3;

impl Figures {
    /// The figures if nothing is known.
    pub const NONE: Self = Self {
        over: false,
        capacity: None,
        remaining: None,
        retry_ms: 0,
        reset_ms: 0,
        index: None,
        overruled: false,
    };

    /// A limit that denies is not full before it grants, also if only a block denies.
    const fn with_reset(mut self) -> Self {
        if self.over && self.reset_ms >= 0 {
            match self.retry_ms {
                ..0 if self.reset_ms == 0 => self.reset_ms = -1,
                wait if wait > self.reset_ms => self.reset_ms = wait,
                _ => {}
            }
        }
        self
    }

    /// True if this limit binds before the other: it denies for longer, or has less left.
    pub fn binds_before(&self, other: &Self) -> bool {
        let wait = |figures: &Self| if figures.retry_ms < 0 { i64::MAX } else { figures.retry_ms };
        let left = |figures: &Self| figures.remaining.unwrap_or(u64::MAX);
        match wait(self).cmp(&wait(other)) {
            std::cmp::Ordering::Equal => left(self) < left(other),
            order => order.is_gt(),
        }
    }
}

/// The value as an integer.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// A count, which is `None` for -1: unlimited.
fn non_negative(n: i64) -> Option<u64> {
    u64::try_from(n).ok()
}

/// Reads the six integers of RL.ACQUIRE, which are one item of a batch.
pub fn of_six(value: &Value) -> Option<Figures> {
    let Value::Array(items) = value else { return None };
    let [granted, limit, remaining, retry, reset, index] = items.as_slice() else { return None };
    let index = integer(index)?;
    let granted = integer(granted)? > 0;
    let figures = Figures {
        over: !granted && index != DENIED_BY_OTHERS,
        capacity: non_negative(integer(limit)?),
        remaining: non_negative(integer(remaining)?),
        // The time until the other items are granted says nothing about this one.
        retry_ms: if index == DENIED_BY_OTHERS { 0 } else { integer(retry)? },
        reset_ms: integer(reset)?,
        index: usize::try_from(index).ok(),
        overruled: false,
    };
    Some(figures.with_reset())
}

/// Reads the maps of RL.QUOTA, one for each limit, in the flat form of RESP2. Nil, for a key
/// without limits, is unlimited.
pub fn of_quota(value: &Value) -> Option<Figures> {
    let rows = match value {
        Value::Array(rows) => rows.as_slice(),
        Value::Nil => return Some(Figures::NONE),
        _ => return None,
    };
    let mut binding: Option<Figures> = None;
    let mut block = None;
    for (at, row) in rows.iter().enumerate() {
        let Value::Array(row) = row else { return None };
        if let Some(blocked) = field(row, "blocked") {
            block = Some(block_ms(blocked, rows));
            continue;
        }
        if integer(field(row, "shadow")?)? != 0 {
            continue;
        }
        let retry_ms = integer(field(row, "retry_after_ms")?)?;
        let figures = Figures {
            over: retry_ms != 0,
            capacity: non_negative(integer(field(row, "limit")?)?),
            remaining: non_negative(integer(field(row, "remaining")?)?),
            retry_ms,
            reset_ms: integer(field(row, "reset_after_ms")?)?,
            index: Some(at),
            overruled: field(row, "source").is_some_and(|source| !is_text(source, "call")),
        };
        if binding.is_none_or(|before| figures.binds_before(&before)) {
            binding = Some(figures);
        }
    }
    let binding = binding.unwrap_or(Figures::NONE);
    let figures = match block {
        Some(retry_ms) => Figures { over: true, remaining: Some(0), retry_ms, ..binding },
        None => binding,
    };
    Some(figures.with_reset())
}

/// The milliseconds until a block ends; -1 for never. `rows` are those of the key's limits. They tell
/// the server's time.
fn block_ms(block: &Value, rows: &[Value]) -> i64 {
    let of = |value: &Value, name: &str| match value {
        Value::Array(fields) => field(fields, name).and_then(integer).filter(|ms| *ms > 0),
        _ => None,
    };
    let Some(until) = of(block, "until") else { return -1 };
    let now = rows.iter().find_map(|row| Some(of(row, "reset_at_ms")? - of(row, "reset_after_ms")?));
    let here = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let now = now.or_else(|| i64::try_from(here()).ok()).unwrap_or(0);
    until.saturating_sub(now).max(1)
}

/// The value of a name in a flat map.
pub fn field<'v>(row: &'v [Value], name: &str) -> Option<&'v Value> {
    row.chunks_exact(2).find_map(|pair| match pair {
        [key, value] if is_text(key, name) => Some(value),
        _ => None,
    })
}

/// True if the value is this text.
pub fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::BulkString(own) => own == text.as_bytes(),
        Value::SimpleString(own) => own == text,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six(numbers: [i64; 6]) -> Value {
        Value::Array(numbers.into_iter().map(Value::Int).collect())
    }

    #[test]
    fn who_is_to_blame_is_over() {
        let granted = of_six(&six([2, 10, 8, 0, 1000, 0])).unwrap();
        assert_eq!((granted.over, granted.remaining, granted.index), (false, Some(8), Some(0)));
        let denied = of_six(&six([0, 10, 1, 700, 1000, 1])).unwrap();
        assert_eq!((denied.over, denied.retry_ms, denied.index), (true, 700, Some(1)));
        let others = of_six(&six([0, 10, 9, 700, 0, -3])).unwrap();
        assert_eq!((others.over, others.retry_ms, others.index), (false, 0, None));
        assert!(of_six(&six([0, -1, -1, -1, 0, -1])).unwrap().over, "a blocked key");
        let reset = |numbers| of_six(&six(numbers)).unwrap().reset_ms;
        assert_eq!(reset([0, 5, 0, 3_600_000, 0, -1]), 3_600_000, "a blocked key that is full");
        assert_eq!(
            [reset([0, 5, 0, -1, 0, -1]), reset([0, 5, 3, -1, 70, 0]), reset([1, 5, 5, 0, 0, 0])],
            [-1, 70, 0]
        );
        assert_eq!(of_six(&Value::Array(vec![Value::Int(1)])), None);
        assert_eq!(of_six(&Value::Nil), None);
    }

    fn row(fields: &[(&str, i64)]) -> Value {
        let pairs =
            fields.iter().flat_map(|(name, n)| [Value::BulkString(name.as_bytes().to_vec()), Value::Int(*n)]);
        Value::Array(pairs.collect())
    }

    fn limit(capacity: i64, remaining: i64, retry: i64, shadow: i64) -> Value {
        row(&[
            ("limit", capacity),
            ("remaining", remaining),
            ("retry_after_ms", retry),
            ("reset_after_ms", 5),
            ("shadow", shadow),
        ])
    }

    #[test]
    fn the_binding_limit_is_the_one_that_denies_longest() {
        let of = |rows: &[Value]| of_quota(&Value::Array(rows.to_vec())).unwrap();
        assert_eq!(of(&[limit(10, 4, 0, 0), limit(9, 2, 0, 0)]).index, Some(1));
        assert_eq!(of(&[limit(10, 4, 30, 0), limit(9, 2, 0, 0)]).index, Some(0));
        assert_eq!(of(&[limit(10, 4, 30, 0), limit(9, 2, -1, 0)]).index, Some(1));
        assert_eq!(of(&[limit(10, 0, 30, 1), limit(9, 2, 0, 0)]).index, Some(1));
        assert!(!of(&[limit(10, 0, 30, 1)]).over, "a shadow denies nobody");
        let block = |until| {
            let own = Value::Array(vec![Value::BulkString(b"until".to_vec()), Value::Int(until)]);
            Value::Array(vec![Value::BulkString(b"blocked".to_vec()), own])
        };
        let dated = row(&[
            ("limit", 10),
            ("remaining", 4),
            ("retry_after_ms", 0),
            ("reset_after_ms", 5),
            ("reset_at_ms", 1005),
            ("shadow", 0),
        ]);
        let blocked = of(&[dated.clone(), block(4000)]);
        assert_eq!((blocked.over, blocked.retry_ms, blocked.reset_ms), (true, 3000, 3000));
        assert_eq!(of(&[dated, block(-1)]).retry_ms, -1);
        assert_eq!(of_quota(&Value::Nil), Some(Figures::NONE));
        assert_eq!(of_quota(&Value::Int(1)), None);
    }
}
