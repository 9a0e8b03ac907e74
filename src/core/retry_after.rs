//! The time after which to ask again.

use super::time::Micros;

/// The time until a request would be granted, or a call admitted, if nobody else asks. Values are
/// ordered by length; never is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryAfter {
    /// The request was granted, or would be granted now.
    Now,
    /// The request would be granted after this many microseconds, at least 1.
    After(u64),
    /// The request will never be granted, as far as is known.
    Never,
}

impl RetryAfter {
    /// The time from `now` until `then`.
    pub const fn until(then: Micros, now: Micros) -> Self {
        match (then, then.since(now)) {
            (Micros::NEVER, _) => Self::Never,
            (_, 0) => Self::Now,
            (_, us) => Self::After(us),
        }
    }

    /// The time as replies show it: milliseconds, rounded up; 0 for now, -1 for never.
    ///
    /// ```
    /// use floodgate::core::retry_after::RetryAfter;
    ///
    /// assert_eq!(RetryAfter::Now.millis(), 0);
    /// assert_eq!(RetryAfter::After(1).millis(), 1); // microseconds, rounded up
    /// assert_eq!(RetryAfter::Never.millis(), -1);
    /// ```
    pub fn millis(self) -> i64 {
        match self {
            Self::Now => 0,
            Self::After(us) => i64::try_from(us.div_ceil(1000)).unwrap_or(i64::MAX),
            Self::Never => -1,
        }
    }
}
