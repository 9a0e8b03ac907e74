//! Money, tokens or whatever else is spent: exact decimals.

use crate::core::text::token::TokenError;
use std::fmt;

/// Decimals that are kept.
const DECIMALS: usize = 12;
/// Pico-units in a unit.
const UNIT: i128 = 1_000_000_000_000;
/// The most whole units of one amount, either way.
const MOST: i128 = 1_000_000_000_000;
/// Pico-units in a nano-unit: what 0.1 stored were nano-units.
const NANO: i128 = 1000;

/// An amount in pico-units; below 0 for a credit. Sums saturate, beyond 10^26 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend(pub i128);

/// Why a text is no amount.
enum SpendRefusal {
    NotANumber,
    TooMuch,
}

impl Spend {
    /// Parses a number as programs print it: `12`, `-0.5`, `.5`, `1e-07`,
    /// `0.30000000000000004`. At most 10^12 either way; exact to 12 decimals, and
    /// rounded half to even beyond.
    ///
    /// # Errors
    /// Names the text and says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let fail = |reason: &str| TokenError::new("decimal", text, reason);
        if text.is_empty() {
            return Err(fail("empty"));
        }
        parse(text).map(Self).map_err(|reason| match reason {
            SpendRefusal::NotANumber => fail("expected a number, such as 12, -0.5 or 1e-7"),
            SpendRefusal::TooMuch => fail("beyond 1000000000000 either way"),
        })
    }

    /// From nano-units, as 0.1 stored them.
    pub fn from_nanos(nanos: u128) -> Self {
        Self(i128::try_from(nanos).unwrap_or(i128::MAX).saturating_mul(NANO))
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// As an unsigned number that is small where the amount is: 0, -1, 1, -2, …
    pub const fn zigzag(self) -> u128 {
        ((self.0 << 1) ^ (self.0 >> 127)).cast_unsigned()
    }

    /// What [`Spend::zigzag`] gave.
    pub const fn from_zigzag(n: u128) -> Self {
        Self((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }
}

/// The pico-units that a text stands for.
fn parse(text: &[u8]) -> Result<i128, SpendRefusal> {
    let (negative, rest) = sign(text);
    let at = rest.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match at {
        Some(at) => (rest.get(..at).unwrap_or_default(), exponent(rest.get(at + 1..).unwrap_or_default())?),
        None => (rest, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let whole = mantissa.get(..point).unwrap_or_default();
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    if whole.len() + fraction.len() == 0 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(SpendRefusal::NotANumber);
    }
    // Before how many digits the point of the pico-units is.
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let kept = length(whole.len()).saturating_add(exponent).saturating_add(length(DECIMALS));
    let picos = rounded(whole.iter().chain(fraction).map(|digit| digit - b'0'), kept)?;
    if picos > MOST * UNIT {
        return Err(SpendRefusal::TooMuch);
    }
    Ok(if negative { -picos } else { picos })
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// A whole number with a sign. One that is out of any reach stays so.
fn exponent(text: &[u8]) -> Result<i64, SpendRefusal> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(SpendRefusal::NotANumber);
    }
    let size = digits.iter().fold(0i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
    });
    Ok(if negative { -size } else { size })
}

/// The number that the first `kept` of these digits write, rounded half to even
/// by the others. Digits that are missing are zeros.
fn rounded(digits: impl Iterator<Item = u8>, kept: i64) -> Result<i128, SpendRefusal> {
    let mut number = 0i128;
    let mut left = kept;
    let (mut next, mut beyond) = (0, false);
    for digit in digits {
        match left {
            1.. => number = number * 10 + i128::from(digit),
            0 => next = digit,
            _ => beyond |= digit > 0,
        }
        // Far above the most, whatever comes.
        if number > MOST * UNIT {
            return Err(SpendRefusal::TooMuch);
        }
        left = left.saturating_sub(1);
    }
    while left > 0 && number > 0 {
        number *= 10;
        left -= 1;
        if number > MOST * UNIT {
            return Err(SpendRefusal::TooMuch);
        }
    }
    let up = next > 5 || next == 5 && (beyond || number % 2 == 1);
    Ok(number + i128::from(up))
}

impl fmt::Display for Spend {
    /// No more decimals than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, picos) = (self.0 / UNIT, (self.0 % UNIT).unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = units.unsigned_abs();
        if picos == 0 {
            return write!(f, "{sign}{units}");
        }
        let decimals = format!("{picos:0DECIMALS$}");
        write!(f, "{sign}{units}.{}", decimals.trim_end_matches('0'))
    }
}
