//! Where a limit stands, read from the replies of RL.BATCH and RL.QUOTA.

use redis::Value;

/// Where the binding limit of a descriptor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// It has not what the request asks for.
    pub over: bool,
    /// Its capacity; `None` for unlimited.
    pub capacity: Option<u64>,
    /// Whole units left; `None` for unlimited.
    pub remaining: Option<u64>,
    /// When the same would be granted: 0 for now, -1 for never.
    pub retry_ms: i64,
    /// When all of it is back; -1 for never.
    pub reset_ms: i64,
    /// Its place among the limits of the rule, where it is known.
    pub index: Option<usize>,
    /// The server has other limits for the key, which win: a pin, or what it has
    /// where callers may bring none. Known when the limit was looked at.
    pub overruled: bool,
}

/// What the `index` of a reply says instead of a place.
const DENIED_BY_OTHERS: i64 = -3;

impl Figures {
    /// Of what nothing is known.
    pub const NONE: Self = Self {
        over: false,
        capacity: None,
        remaining: None,
        retry_ms: 0,
        reset_ms: 0,
        index: None,
        overruled: false,
    };

    /// Longest denial, else least remaining: the smaller binds.
    pub fn binds_before(&self, other: &Self) -> bool {
        let wait = |figures: &Self| if figures.retry_ms < 0 { i64::MAX } else { figures.retry_ms };
        let left = |figures: &Self| figures.remaining.unwrap_or(u64::MAX);
        match wait(self).cmp(&wait(other)) {
            std::cmp::Ordering::Equal => left(self) < left(other),
            order => order.is_gt(),
        }
    }
}

/// The number that it is.
pub fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// -1 is unlimited.
fn count(n: i64) -> Option<u64> {
    u64::try_from(n).ok()
}

/// The six integers of RL.ACQUIRE, as one item of a batch.
pub fn of_six(value: &Value) -> Option<Figures> {
    let Value::Array(items) = value else { return None };
    let [granted, limit, remaining, retry, reset, index] = items.as_slice() else { return None };
    let index = integer(index)?;
    let granted = integer(granted)? > 0;
    Some(Figures {
        over: !granted && index != DENIED_BY_OTHERS,
        capacity: count(integer(limit)?),
        remaining: count(integer(remaining)?),
        // The wait of the others says nothing about this one.
        retry_ms: if index == DENIED_BY_OTHERS { 0 } else { integer(retry)? },
        reset_ms: integer(reset)?,
        index: usize::try_from(index).ok(),
        overruled: false,
    })
}

/// The maps of RL.QUOTA, one a limit, in the flat form of RESP2. Nil, for a key
/// that nothing limits, is unlimited.
pub fn of_quota(value: &Value) -> Option<Figures> {
    let rows = match value {
        Value::Array(rows) => rows.as_slice(),
        Value::Nil => return Some(Figures::NONE),
        _ => return None,
    };
    let mut binding: Option<Figures> = None;
    let mut blocked = false;
    for (at, row) in rows.iter().enumerate() {
        let Value::Array(row) = row else { return None };
        if field(row, "blocked").is_some() {
            blocked = true;
            continue;
        }
        if integer(field(row, "shadow")?)? != 0 {
            continue;
        }
        let retry_ms = integer(field(row, "retry_after_ms")?)?;
        let figures = Figures {
            over: retry_ms != 0,
            capacity: count(integer(field(row, "limit")?)?),
            remaining: count(integer(field(row, "remaining")?)?),
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
    // How long, the block itself would have to say: nothing is promised.
    Some(if blocked { Figures { over: true, remaining: Some(0), retry_ms: -1, ..binding } } else { binding })
}

/// The value after a name in a flat map.
pub fn field<'v>(row: &'v [Value], name: &str) -> Option<&'v Value> {
    row.chunks_exact(2).find_map(|pair| match pair {
        [key, value] if is_text(key, name) => Some(value),
        _ => None,
    })
}

/// It is that text.
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
        assert!(of(&[limit(10, 4, 0, 0), row(&[("blocked", 1)])]).over);
        assert_eq!(of_quota(&Value::Nil), Some(Figures::NONE));
        assert_eq!(of_quota(&Value::Int(1)), None);
    }
}
