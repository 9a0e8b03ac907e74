//! Shares in percent, with up to two decimals.

use super::hundredths::Hundredths;
use std::fmt;

/// A share in hundredths of a percent: 0% to 100%.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// 0%.
    pub const NONE: Self = Self(0);

    /// 100%.
    pub const ALL: Self = Self(10_000);

    /// The share of this many hundredths of a percent; `None` above 100%.
    pub fn new(hundredths: u32) -> Option<Self> {
        u16::try_from(hundredths).ok().map(Self).filter(|&share| share <= Self::ALL)
    }

    /// The share that `part` is of `whole`, rounded down, at most 100%. It is 0% if `whole` is 0.
    ///
    /// ```
    /// use floodgate::core::text::percent::Percent;
    ///
    /// assert_eq!(Percent::of(1, 3).to_string(), "33.33%");
    /// assert_eq!(Percent::of(0, 0).to_string(), "0%");
    /// ```
    pub fn of(part: u64, whole: u64) -> Self {
        let share = u128::from(part) * 10_000 / u128::from(whole.max(1));
        u16::try_from(share).map_or(Self::ALL, |share| Self(share).min(Self::ALL))
    }

    /// The share in hundredths of a percent, 0 to 10 000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// True if `part` of `whole` is at least this share. Nothing is rounded.
    ///
    /// ```
    /// use floodgate::core::text::percent::Percent;
    ///
    /// let half = Percent::new(5_000).unwrap();
    /// assert!(half.reached(1, 2)); // at the share, not only above it
    /// assert!(!half.reached(1, 3));
    /// ```
    pub fn reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 >= u128::from(self.0) * u128::from(whole)
    }

    /// Returns the share of `whole` units, rounded down.
    pub fn units(self, whole: u64) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.0) / 10_000).unwrap_or(whole)
    }
}

impl fmt::Display for Percent {
    /// Writes the share with no more decimals than it needs: `12.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Hundredths(self.0.into()))
    }
}

/// The percentage that `part` is of `of`, rounded down to a whole number. It is above 100 if `part`
/// is more than `of`.
pub fn whole_percent(part: u64, of: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(of.max(1))).unwrap_or(u64::MAX)
}
