//! Amounts of money, tokens or anything else that is spent, as exact decimals.

use crate::core::text::decimal::{self, DecimalError};
use crate::core::text::token::TokenError;
use std::fmt;

/// The number of decimals that are kept.
const DECIMALS: usize = 12;
/// The number of pico-units in a unit.
const UNIT: i128 = 1_000_000_000_000;
/// The largest amount in whole units, positive or negative.
const MOST: i128 = 1_000_000_000_000;
/// The number of pico-units in a nano-unit. Version 0.1 stored nano-units.
const NANO: i128 = 1000;

/// An amount in pico-units. It is negative for a credit. Sums saturate beyond 10^26 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spend(pub i128);

impl Spend {
    /// Parses a number as programs print it, such as `12`, `-0.5`, `.5`, `1e-07` or
    /// `0.30000000000000004`. It is exact to 12 decimals and rounded half to even beyond.
    ///
    /// # Errors
    /// Names the text and says what is wrong with it: it is no number, or is beyond 10^12 in either
    /// direction.
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

    /// An amount of nano-units, which version 0.1 stored.
    pub fn from_nanos(nanos: u128) -> Self {
        Self(i128::try_from(nanos).unwrap_or(i128::MAX).saturating_mul(NANO))
    }

    /// The sum of two amounts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The amount as an unsigned number that is small if the amount is close to 0. The order is 0,
    /// -1, 1, -2, …
    pub const fn zigzag(self) -> u128 {
        ((self.0 << 1) ^ (self.0 >> 127)).cast_unsigned()
    }

    /// The amount for which [`Spend::zigzag`] returned `n`.
    pub const fn from_zigzag(n: u128) -> Self {
        Self((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }
}

impl fmt::Display for Spend {
    /// Writes no more decimals than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (units, picos) =
            (self.0.unsigned_abs() / UNIT.unsigned_abs(), self.0.unsigned_abs() % UNIT.unsigned_abs());
        let picos = u64::try_from(picos).unwrap_or_default();
        decimal::write(f, format_args!("{sign}{units}"), picos, DECIMALS)
    }
}
