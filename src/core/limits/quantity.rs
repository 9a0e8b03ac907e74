//! Counts and periods, such as the `100/5m` of a limit.

use crate::core::text::duration;
use crate::core::text::duration::{LONGEST, WEEK};
use crate::core::text::token::{meant, shown};
use std::borrow::Cow;

/// The reason for which a part of a token was refused: a few words in lower case, without a full
/// stop.
pub type Reason = Cow<'static, str>;

/// The largest count and burst: 10^12.
pub const MAX_COUNT: u64 = 1_000_000_000_000;

/// A period as written. Weeks and months keep their unit, because fixed windows of a week start on
/// Monday, and months differ in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A length in microseconds: whole milliseconds, from 1 ms to 366 days.
    Exact(u64),
    /// A period of this many weeks, 1 to 52.
    Weeks(u64),
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
    /// A period without end: a credit.
    Ever,
}

impl Period {
    /// The length in microseconds, for algorithms that have no calendar.
    ///
    /// # Errors
    /// The reason, for a month, a year and ever, which have no length of their own.
    pub fn length(self) -> Result<u64, Reason> {
        match self {
            Self::Exact(us) => Ok(us),
            Self::Weeks(n) => Ok(n.saturating_mul(WEEK)),
            Self::Month => Err("month is only for fixed windows".into()),
            Self::Year => Err("year is only for fixed windows".into()),
            Self::Ever => Err("ever is only for fixed".into()),
        }
    }
}

/// Splits `count/period` and parses both.
///
/// # Errors
/// The reason in a few words.
pub fn parse(text: &[u8]) -> Result<(u64, Period), Reason> {
    let Some(slash) = text.iter().position(|&b| b == b'/') else {
        // If the count is bad, that is a better reason than the missing period.
        let n = parse_count(text)?;
        return Err(format!("missing '/' and period, as in {n}/s").into());
    };
    let (head, tail) = text.split_at(slash);
    let count = parse_count(head)?;
    let tail = tail.get(1..).unwrap_or_default();
    if !tail.is_empty() && tail.iter().all(u8::is_ascii_digit) {
        return Err(format!("period has no unit, write {count}/{}s", shown(tail)).into());
    }
    Ok((count, period(tail)?))
}

/// A count in a period that has a length of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The units in a period.
    pub count: u64,
    /// The length of the period in microseconds.
    pub period: u64,
}

/// The same as [`parse`], for algorithms without a calendar.
///
/// # Errors
/// The reason and the way out in a few words.
pub fn parse_rate(text: &[u8]) -> Result<Rate, Reason> {
    let (count, period) = parse(text)?;
    let period = period.length().map_err(|reason| format!("{reason}, write fixed:{}", shown(text)))?;
    Ok(Rate { count, period })
}

/// Parses a count from 0 to [`MAX_COUNT`]. A count of 0 denies everything.
///
/// # Errors
/// The reason in a few words.
pub fn parse_count(text: &[u8]) -> Result<u64, Reason> {
    let zero = !text.is_empty() && text.iter().all(|&b| b == b'0');
    if zero { Ok(0) } else { number(text, "count") }
}

/// Parses a number from 1 to [`MAX_COUNT`], which the reasons call `what`.
///
/// # Errors
/// The reason in a few words.
pub fn number(text: &[u8], what: &str) -> Result<u64, Reason> {
    let refuse = |why: &str| Err(format!("{what} {why}").into());
    match text.first() {
        None => return Err(format!("missing {what}").into()),
        Some(b'-') => return refuse("is negative"),
        Some(b'+') => return refuse("takes no sign"),
        Some(_) => {}
    }
    if text.iter().any(|b| !b.is_ascii_digit()) {
        return refuse(match text {
            // A number such as 10k or 1e3.
            [b'0'..=b'9', rest @ ..] if rest.iter().all(|b| b"0123456789kKmMeE".contains(b)) => {
                "is not a whole number, write all its digits"
            }
            _ if text.contains(&b'.') => "is not a whole number, write a longer period, as in 3/2s for 1.5/s",
            _ => "is not a whole number such as 100",
        });
    }
    match duration::whole_number(text) {
        Some(0) => refuse("must be at least 1"),
        Some(n) if n <= MAX_COUNT => Ok(n),
        _ => refuse("is above 1000000000000"),
    }
}

/// Parses a period: an optional number and a unit.
fn period(text: &[u8]) -> Result<Period, Reason> {
    if text.is_empty() {
        return Err("missing period".into());
    }
    if text.first().is_some_and(|&b| b == b'-' || b == b'+') {
        return Err("period takes no sign".into());
    }
    let (digits, unit) = duration::split_number(text);
    if unit.first() == Some(&b'.') && !digits.is_empty() {
        return Err("period must be a whole number of its unit, such as 1500ms for 1.5s".into());
    }
    let n = match digits {
        [] => Some(1),
        _ => duration::whole_number(digits),
    };
    for (name, period) in [("month", Period::Month), ("year", Period::Year), ("ever", Period::Ever)] {
        if unit.eq_ignore_ascii_case(name.as_bytes()) {
            return match period {
                _ if n == Some(1) => Ok(period),
                Period::Ever => Err("ever takes no number but 1".into()),
                _ => Err(format!("{name} takes no number but 1, write days, as in 90d").into()),
            };
        }
    }
    let Some(scale) = duration::unit(unit) else {
        return Err(unknown_unit(unit));
    };
    match n.and_then(|n| n.checked_mul(scale).map(|us| (n, us))) {
        Some((0, _)) => Err("period is zero".into()),
        Some((n, us)) if us <= LONGEST => {
            Ok(if scale == WEEK { Period::Weeks(n) } else { Period::Exact(us) })
        }
        _ => Err("period is longer than 366 days".into()),
    }
}

/// Common spellings of the periods that are no length of time.
const NEAR_UNITS: &[(&str, &[&str])] = &[
    ("month", &["mon", "months"]),
    ("year", &["y", "yr", "years"]),
    ("ever", &["forever", "always", "never", "lifetime", "infinite", "inf"]),
];

/// The reason for which a text is no unit of a period, with the way out.
fn unknown_unit(text: &[u8]) -> Reason {
    if text.contains(&b'/') {
        return "more than one '/', write ',' between limits".into();
    }
    let near = meant(NEAR_UNITS, text).or_else(|| duration::near_unit(text));
    let unknown = format!("unknown unit of time '{}'", shown(text));
    match near {
        Some(near) => format!("{unknown}, write {near}").into(),
        None => format!("{unknown}: the units are ms, s, m, h, d, w, month, year and ever").into(),
    }
}

/// The shortest exact text of a length in microseconds, such as `m`, `5m` or `90s`.
pub fn period_text(us: u64) -> String {
    without_one(duration::canonical(us))
}

/// The shortest text of `n` weeks, such as `w` or `2w`.
pub fn weeks_text(n: u64) -> String {
    without_one(format!("{n}w"))
}

/// Removes a number of 1, so that `1m` becomes `m` and `10m` stays.
fn without_one(text: String) -> String {
    match text.strip_prefix('1') {
        Some(unit) if !unit.starts_with(|c: char| c.is_ascii_digit()) => unit.to_owned(),
        _ => text,
    }
}
