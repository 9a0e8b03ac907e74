//! Decimal numbers as programs print them, parsed without floating point: `12`, `-0.5`, `.5`,
//! `1e-07`, `0.30000000000000004`.

use std::fmt;

/// The reason for which a text is no decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// The text is not a number.
    NotANumber,
    /// The number is beyond the allowed bounds.
    TooMuch,
}

/// Parses a decimal into units of its last kept decimal: `0.5` with 3 decimals is 500. Further
/// digits are rounded half to even. The result is between `-most` and `most`; `most` must be far
/// below what 128 bits hold.
///
/// # Errors
/// [`DecimalError`] for a text that is no number, or a number beyond the bounds.
pub fn parse(text: &[u8], decimals: usize, most: i128) -> Result<i128, DecimalError> {
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
        return Err(DecimalError::NotANumber);
    }
    // The number of digits before the point, after it was moved behind the last kept decimal.
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let kept = length(whole.len()).saturating_add(exponent).saturating_add(length(decimals));
    let number = rounded(whole.iter().chain(fraction).map(|digit| digit - b'0'), kept, most)?;
    if number > most {
        return Err(DecimalError::TooMuch);
    }
    Ok(if negative { -number } else { number })
}

/// Writes a number with no more decimals than needed. `rest` counts in units of the last of its
/// `decimals`.
///
/// # Errors
/// The formatter's own.
pub fn write(
    f: &mut fmt::Formatter<'_>,
    whole: impl fmt::Display,
    rest: u64,
    decimals: usize,
) -> fmt::Result {
    write!(f, "{whole}")?;
    match rest {
        0 => Ok(()),
        _ => write!(f, ".{}", format!("{rest:0decimals$}").trim_end_matches('0')),
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// Parses a whole number with a sign. One that is out of any range is clamped.
fn exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalError::NotANumber);
    }
    let size = digits.iter().fold(0i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
    });
    Ok(if negative { -size } else { size })
}

/// The number that the first `kept` digits make, rounded half to even by the other digits. Missing
/// digits are zeros.
fn rounded(digits: impl Iterator<Item = u8>, kept: i64, most: i128) -> Result<i128, DecimalError> {
    let mut number = 0i128;
    let mut left = kept;
    let (mut next, mut beyond) = (0, false);
    for digit in digits {
        match left {
            1.. => number = number * 10 + i128::from(digit),
            0 => next = digit,
            _ => beyond |= digit > 0,
        }
        // Whatever follows, the number stays above `most`.
        if number > most {
            return Err(DecimalError::TooMuch);
        }
        left = left.saturating_sub(1);
    }
    while left > 0 && number > 0 {
        number *= 10;
        left -= 1;
        if number > most {
            return Err(DecimalError::TooMuch);
        }
    }
    let up = next > 5 || next == 5 && (beyond || number % 2 == 1);
    Ok(number + i128::from(up))
}
