//! Money, tokens or whatever else is spent: exact decimals.

use crate::core::text::decimal::{self, DecimalError};
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
        decimal::parse(text, DECIMALS, MOST * UNIT).map(Self).map_err(|reason| match reason {
            DecimalError::NotANumber => fail("expected a number, such as 12, -0.5 or 1e-7"),
            DecimalError::TooMuch => fail("beyond 1000000000000 either way"),
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
