//! Money, tokens or whatever else is spent: exact decimals.

use crate::core::text::duration::{split_number, whole_number};
use crate::core::text::token::TokenError;
use std::fmt;

/// Nano-units in a unit: nine decimals.
const UNIT: u128 = 1_000_000_000;
/// The most whole units of one amount.
const MOST: u64 = 1_000_000_000_000;

/// An amount of at least 0 in nano-units. Sums saturate, beyond 10^29 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend(pub u128);

impl Spend {
    /// Parses a decimal such as `12`, `0.001` or `.5`: at most 10^12, at most
    /// nine decimals, no sign and no exponent.
    ///
    /// # Errors
    /// Names the text and says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, TokenError> {
        let fail = |reason: &str| TokenError::new("decimal", text, reason);
        let (whole, rest) = split_number(text);
        let decimals = match rest.split_first() {
            None if whole.is_empty() => return Err(fail("empty")),
            None => &[][..],
            Some((b'.', decimals)) if !decimals.is_empty() => decimals,
            _ => return Err(fail("expected digits, perhaps with a point among them")),
        };
        if !decimals.iter().all(u8::is_ascii_digit) {
            return Err(fail("expected digits, perhaps with a point among them"));
        }
        if decimals.len() > 9 {
            return Err(fail("more than nine decimals"));
        }
        let units = if whole.is_empty() { Some(0) } else { whole_number(whole) };
        let Some(units) = units.filter(|&units| units <= MOST) else {
            return Err(fail("above 1000000000000"));
        };
        let nanos = (0..9).fold(0u128, |nanos, at| {
            nanos * 10 + decimals.get(at).map_or(0, |digit| u128::from(digit - b'0'))
        });
        Ok(Self(u128::from(units) * UNIT + nanos))
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Spend {
    /// No more decimals than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, nanos) = (self.0 / UNIT, self.0 % UNIT);
        if nanos == 0 {
            return write!(f, "{units}");
        }
        let decimals = format!("{nanos:09}");
        write!(f, "{units}.{}", decimals.trim_end_matches('0'))
    }
}
