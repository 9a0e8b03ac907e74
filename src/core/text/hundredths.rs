//! Numbers with up to two decimals, such as a factor of `1.5`.

use super::decimal;
use crate::core::text::duration::{split_number, whole_number};
use crate::core::text::token::shown;
use std::fmt;

/// A number in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hundredths(pub u32);

/// Why a text is not a number with up to two decimals.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HundredthsError {
    /// A point without decimals, such as `1.`.
    #[error("missing decimals after the point")]
    NoDecimals,
    /// More than two decimals, such as `1.234`.
    #[error("at most two decimals")]
    TooManyDecimals,
    /// Decimals that are not digits, such as `1.x`.
    #[error("malformed decimals")]
    MalformedDecimals,
    /// Any other text.
    #[error("'{0}' is not a number")]
    NotANumber(String),
    /// An empty text.
    #[error("missing number")]
    Missing,
}

impl Hundredths {
    /// The number 1.
    pub const ONE: Self = Self::whole(1);

    /// The whole number `n`. One that is too large becomes the largest value.
    pub const fn whole(n: u32) -> Self {
        Self(n.saturating_mul(100))
    }

    /// `n` times this number, rounded down.
    pub fn times(self, n: u64) -> u64 {
        n.saturating_mul(self.0.into()) / 100
    }

    /// Reads a number with up to two decimals. A number that is too large becomes the largest
    /// value, which is beyond the bounds of every caller.
    ///
    /// # Errors
    /// The text is not such a number.
    ///
    /// ```
    /// use floodgate::core::text::hundredths::Hundredths;
    ///
    /// let factor = Hundredths::parse(b"1.5").unwrap();
    /// assert_eq!(factor, Hundredths(150));
    /// assert_eq!(factor.to_string(), "1.5");
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, HundredthsError> {
        let (whole, rest) = split_number(text);
        let decimals = match rest {
            [] => Some(0),
            [b'.', decimals @ ..] if !whole.is_empty() => match decimals {
                [] => return Err(HundredthsError::NoDecimals),
                [_, _, _, ..] => return Err(HundredthsError::TooManyDecimals),
                [tenths] => whole_number(&[*tenths, b'0']),
                both => whole_number(both),
            },
            _ => return Err(HundredthsError::NotANumber(shown(text))),
        };
        let decimals = decimals.ok_or(HundredthsError::MalformedDecimals)?;
        if whole.is_empty() {
            return Err(HundredthsError::Missing);
        }
        let all = whole_number(whole).and_then(|n| n.checked_mul(100)?.checked_add(decimals));
        Ok(Self(all.and_then(|all| u32::try_from(all).ok()).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for Hundredths {
    /// Writes the shortest form: `2`, `1.5`, `1.05`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write(f, self.0 / 100, (self.0 % 100).into(), 2)
    }
}
