//! The six numbers of a decision, by their names.

use std::fmt;

/// What RL.ACQUIRE replies, and what other commands say of one limit key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RateLimitReply {
    pub granted: i64,
    /// -1: unlimited.
    pub limit: i64,
    /// -1: unlimited.
    pub remaining: i64,
    /// 0 when granted; -1: never.
    pub retry_after_ms: i64,
    /// 0 when full; -1: never.
    pub reset_after_ms: i64,
    /// Of the binding limit, from 0; below 0 what else denied.
    pub index: i64,
}

/// `index`: the key is blocked.
pub const BLOCKED: i64 = -1;
/// `index`: others wait in the key's queue.
pub const BEHIND_A_LINE: i64 = -2;
/// `index`: other items of a batch are denied.
pub const BY_ANOTHER_ITEM: i64 = -3;
/// A time that does not come, and a number without an end.
const NONE: i64 = -1;

impl RateLimitReply {
    pub const fn of([granted, limit, remaining, retry_after_ms, reset_after_ms, index]: [i64; 6]) -> Self {
        Self { granted, limit, remaining, retry_after_ms, reset_after_ms, index }
    }

    pub const fn is_granted(&self) -> bool {
        self.granted > 0
    }
}

/// What a reply should say. What is not named is not compared, but for `index`, which
/// is 0 then: most calls name one limit.
#[derive(Clone, Copy)]
pub struct ExpectedReply {
    granted: i64,
    limit: Option<i64>,
    remaining: Option<i64>,
    retry_after_ms: Option<i64>,
    reset_after_ms: Option<i64>,
    index: i64,
}

/// So many units are granted, at once.
pub const fn granted(units: i64) -> ExpectedReply {
    ExpectedReply {
        granted: units,
        limit: None,
        remaining: None,
        retry_after_ms: Some(0),
        reset_after_ms: None,
        index: 0,
    }
}

/// So many units are charged, and others may have to wait for them.
pub const fn charged(units: i64) -> ExpectedReply {
    ExpectedReply { retry_after_ms: None, ..granted(units) }
}

/// Nothing is granted.
pub const fn denied() -> ExpectedReply {
    ExpectedReply { retry_after_ms: None, ..granted(0) }
}

impl ExpectedReply {
    pub const fn limit(self, units: i64) -> Self {
        Self { limit: Some(units), ..self }
    }

    pub const fn remaining(self, units: i64) -> Self {
        Self { remaining: Some(units), ..self }
    }

    /// No limit holds the key.
    pub const fn unlimited(self) -> Self {
        self.limit(NONE).remaining(NONE).reset_ms(0)
    }

    /// The same request would be granted then.
    pub const fn retry_ms(self, ms: i64) -> Self {
        Self { retry_after_ms: Some(ms), ..self }
    }

    /// Nothing that the server knows will ever grant it.
    pub const fn retry_never(self) -> Self {
        self.retry_ms(NONE)
    }

    /// The limit is full again then.
    pub const fn reset_ms(self, ms: i64) -> Self {
        Self { reset_after_ms: Some(ms), ..self }
    }

    /// Its units never come back by themselves.
    pub const fn reset_never(self) -> Self {
        self.reset_ms(NONE)
    }

    /// The limit at this place of the call binds.
    pub const fn index(self, index: i64) -> Self {
        Self { index, ..self }
    }

    /// An operator's block denies it.
    pub const fn blocked(self) -> Self {
        self.index(BLOCKED)
    }

    /// A queue is before it.
    pub const fn behind_a_line(self) -> Self {
        self.index(BEHIND_A_LINE)
    }

    /// It would be granted without the other items of the call.
    pub const fn by_another_item(self) -> Self {
        self.index(BY_ANOTHER_ITEM)
    }
}

impl PartialEq<ExpectedReply> for RateLimitReply {
    fn eq(&self, expected: &ExpectedReply) -> bool {
        let same = |got, wanted: Option<i64>| wanted.is_none_or(|wanted| wanted == got);
        self.granted == expected.granted
            && same(self.limit, expected.limit)
            && same(self.remaining, expected.remaining)
            && same(self.retry_after_ms, expected.retry_after_ms)
            && same(self.reset_after_ms, expected.reset_after_ms)
            && self.index == expected.index
    }
}

/// Both in one order and width, so that a failed comparison shows the field at a glance.
fn write_fields(
    f: &mut fmt::Formatter<'_>,
    granted: i64,
    [limit, remaining, retry, reset]: [Option<i64>; 4],
    index: i64,
) -> fmt::Result {
    let number = |number: Option<i64>| number.map_or("any".to_owned(), |number| number.to_string());
    let index = match index {
        BLOCKED => "blocked".to_owned(),
        BEHIND_A_LINE => "behind a line".to_owned(),
        BY_ANOTHER_ITEM => "by another item".to_owned(),
        index => format!("index {index}"),
    };
    write!(
        f,
        "granted {granted:<4} limit {:<5} remaining {:<5} retry_after_ms {:<8} reset_after_ms {:<8} {index}",
        number(limit),
        number(remaining),
        number(retry),
        number(reset),
    )
}

impl fmt::Debug for RateLimitReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [self.limit, self.remaining, self.retry_after_ms, self.reset_after_ms].map(Some);
        write_fields(f, self.granted, fields, self.index)
    }
}

impl fmt::Debug for ExpectedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [self.limit, self.remaining, self.retry_after_ms, self.reset_after_ms];
        write_fields(f, self.granted, fields, self.index)
    }
}

#[test]
fn a_reply_is_compared_by_what_is_named() {
    let reply = RateLimitReply::of([3, 10, 7, 0, 1000, 0]);
    let expected = granted(3).limit(10).remaining(7).reset_ms(1000);
    assert_eq!(reply, expected);
    assert_eq!(reply, granted(3));
    for at in 0..6 {
        let mut numbers = [3, 10, 7, 0, 1000, 0];
        numbers[at] += 1;
        assert_ne!(RateLimitReply::of(numbers), expected, "number {at}");
    }
    // When one more is granted is not told by a denial or a charge.
    let charge = RateLimitReply::of([3, 10, 0, 500, 1000, BLOCKED]);
    assert_eq!(charge, charged(3).remaining(0).blocked());
    assert_ne!(charge, granted(3).remaining(0).blocked());
    assert_ne!(charge, denied().blocked());
    assert_eq!(
        RateLimitReply::of([0, -1, -1, -1, 0, -3]),
        denied().unlimited().retry_never().by_another_item()
    );
    let shown = format!("{:?}", denied().limit(5).behind_a_line());
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(words[..6], ["granted", "0", "limit", "5", "remaining", "any"]);
    assert!(shown.ends_with("behind a line"), "{shown}");
}
