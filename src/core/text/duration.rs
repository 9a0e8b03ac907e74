//! Lengths of time as people write them: `1500ms`, `30s`, `5min`.

use crate::core::text::token::{TokenError, meant, shown};

/// Microseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000;
/// Microseconds in a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// Microseconds in a minute.
pub const MINUTE: u64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: u64 = 60 * MINUTE;
/// Microseconds in a day of 24 hours.
pub const DAY: u64 = 24 * HOUR;
/// Microseconds in a week of seven such days.
pub const WEEK: u64 = 7 * DAY;
/// The longest time in microseconds that a token may name: 366 days.
pub const LONGEST: u64 = 366 * DAY;

/// The units of fixed length in microseconds, with their spellings.
const UNITS: &[(&[&str], u64)] = &[
    (&["ms"], MILLISECOND),
    (&["s", "sec", "second", "seconds"], SECOND),
    (&["m", "min", "minute", "minutes"], MINUTE),
    (&["h", "hour", "hours"], HOUR),
    (&["d", "day", "days"], DAY),
    (&["w", "week", "weeks"], WEEK),
];

/// The length in microseconds of the unit that `text` spells. Letter case does not matter.
pub fn unit(text: &[u8]) -> Option<u64> {
    UNITS
        .iter()
        .find(|(names, _)| names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(text)))
        .map(|&(_, us)| us)
}

/// Splits `text` into its leading decimal digits and the rest.
pub fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

/// Parses decimal digits without a sign. `None` for an empty text, other characters, or a number
/// above 64 bits.
pub fn whole_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The unit that is clearly meant by a text that spells none.
pub fn near_unit(text: &[u8]) -> Option<&'static str> {
    const NEAR_UNITS: &[(&str, &[&str])] = &[
        ("ms", &["msec", "msecs", "millis", "millisecond", "milliseconds"]),
        ("s", &["secs"]),
        ("m", &["mins"]),
        ("h", &["hr", "hrs"]),
        ("w", &["wk", "wks"]),
    ];
    meant(NEAR_UNITS, text)
}

/// Parses the duration of an argument (`WAIT`, `TTL`, `FOR`, `DUR`, …): a whole number with a unit,
/// which only 0 may lack. Returns microseconds, 0 to [`LONGEST`]. Callers that need at least a
/// millisecond check that themselves.
///
/// # Errors
/// A [`TokenError`] that names the text, the reason and the way out.
///
/// ```
/// use floodgate::core::text::duration::{SECOND, parse};
/// assert_eq!(parse(b"30s"), Ok(30 * SECOND));
/// assert_eq!(parse(b"0"), Ok(0));
/// let refused = parse(b"30").unwrap_err();
/// assert_eq!(refused.to_string(), "invalid duration '30': needs a unit, such as 30s or 30ms");
/// ```
pub fn parse(text: &[u8]) -> Result<u64, TokenError> {
    read(text, None)
}

/// The same as [`parse`], for a text that version 0.1 stored. There a number without a unit was in
/// milliseconds.
///
/// # Errors
/// The same as [`parse`].
pub fn parse_stored(text: &[u8]) -> Result<u64, TokenError> {
    read(text, Some(MILLISECOND))
}

/// `unitless` is the unit of a number without one. If that is `None`, such a number is refused, unless
/// it is 0.
fn read(text: &[u8], unitless: Option<u64>) -> Result<u64, TokenError> {
    let fail = |reason: &str| TokenError::new("duration", text, reason);
    let (digits, rest) = split_number(text);
    if digits.is_empty() {
        return Err(fail(match text.first() {
            Some(b'-' | b'+') => "takes no sign",
            _ => "expected a number with a unit, such as 30s",
        }));
    }
    let n = whole_number(digits);
    let scale = match rest {
        [] if n == Some(0) => MILLISECOND,
        [] => unitless.ok_or_else(|| fail(&needs_a_unit(digits)))?,
        [b'.', ..] => return Err(fail("must be a whole number of its unit, such as 1500ms for 1.5s")),
        _ if rest.iter().any(u8::is_ascii_whitespace) => {
            return Err(fail("has white space, write it without, as in 30s"));
        }
        _ => unit(rest).ok_or_else(|| match near_unit(rest) {
            Some(near) => fail(&format!("unknown unit, write {}{near}", shown(digits))),
            None => fail("unknown unit: the units are ms, s, m, h, d and w"),
        })?,
    };
    n.and_then(|n| n.checked_mul(scale))
        .filter(|&us| us <= LONGEST)
        .ok_or_else(|| fail("longer than 366 days"))
}

fn needs_a_unit(digits: &[u8]) -> String {
    let n = if digits.len() <= 12 { shown(digits) } else { "30".to_owned() };
    format!("needs a unit, such as {n}s or {n}ms")
}

/// The shortest exact text of a length in microseconds that is whole milliseconds, such as
/// `1500ms`, `30s`, `5m` or `1d`. The unit `w` is never used, because for fixed windows a week
/// starts on Monday, which seven days do not.
///
/// ```
/// use floodgate::core::text::duration::{HOUR, MINUTE, canonical};
///
/// assert_eq!(canonical(HOUR), "1h");
/// assert_eq!(canonical(90 * MINUTE), "90m");
/// ```
pub fn canonical(us: u64) -> String {
    let (scale, suffix) = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")]
        .into_iter()
        .find(|&(scale, _)| us >= scale && us.is_multiple_of(scale))
        .unwrap_or((MILLISECOND, "ms"));
    format!("{}{suffix}", us / scale)
}
