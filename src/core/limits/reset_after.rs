//! When a limit is full again.

use crate::core::time::Micros;

/// How long until a limit is full again if nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetAfter {
    /// Microseconds; 0 when it is full.
    Us(u64),
    /// Its units never come back by themselves, whether any are in use or not.
    Never,
}

impl ResetAfter {
    /// It is full.
    pub const NOW: Self = Self::Us(0);

    /// Microseconds; `None` for never.
    pub const fn micros(self) -> Option<u64> {
        match self {
            Self::Us(us) => Some(us),
            Self::Never => None,
        }
    }

    /// The moment at which it is full, seen at `now`; `None` for never.
    pub fn moment(self, now: Micros) -> Option<Micros> {
        self.micros().map(|us| now.plus(us))
    }

    /// The same, but no sooner than after `us` microseconds.
    #[must_use]
    pub fn at_least(self, us: u64) -> Self {
        match self {
            Self::Us(own) => Self::Us(own.max(us)),
            Self::Never => Self::Never,
        }
    }

    /// As replies say it: milliseconds rounded up, -1 never.
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
