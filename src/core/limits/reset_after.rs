//! The time until a limit is full again.

use super::rule::State;
use super::spec::Limit;
use crate::core::time::Micros;

/// The time until a limit is full again if nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetAfter {
    /// This many microseconds; 0 if it is full.
    Us(u64),
    /// The units of the limit never come back by themselves. It does not matter whether any are in
    /// use.
    Never,
}

impl ResetAfter {
    /// The limit is full.
    pub const NOW: Self = Self::Us(0);

    /// The time until a limit is full again, if `taken` units are taken now and nobody asks
    /// afterwards.
    #[inline]
    pub(super) fn of(limit: &Limit, state: &State, now: Micros, taken: u64) -> Self {
        if limit.rule().comes_back() {
            Self::Us(limit.rule().full_after(state, now, taken).since(now))
        } else {
            Self::Never
        }
    }

    /// The time in microseconds; `None` for never.
    pub const fn micros(self) -> Option<u64> {
        match self {
            Self::Us(us) => Some(us),
            Self::Never => None,
        }
    }

    /// The moment at which the limit is full, seen at `now`; `None` for never.
    pub fn moment(self, now: Micros) -> Option<Micros> {
        self.micros().map(|us| now.plus(us))
    }

    /// The same time, but at least `us` microseconds.
    #[must_use]
    pub fn at_least(self, us: u64) -> Self {
        match self {
            Self::Us(own) => Self::Us(own.max(us)),
            Self::Never => Self::Never,
        }
    }

    /// The time as replies show it: milliseconds, rounded up; -1 for never.
    ///
    /// ```
    /// use floodgate::core::limits::ResetAfter;
    ///
    /// assert_eq!(ResetAfter::Us(1_001).millis(), 2);
    /// assert_eq!(ResetAfter::Never.millis(), -1);
    /// ```
    pub fn millis(self) -> i64 {
        self.micros().map_or(-1, |us| i64::try_from(us.div_ceil(1000)).unwrap_or(i64::MAX))
    }
}
