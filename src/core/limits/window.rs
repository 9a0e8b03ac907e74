//! One window of a fixed limit.

use crate::core::time::Micros;

/// A half-open interval of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first microsecond in it.
    pub start: Micros,
    /// The first microsecond after it; [`Micros::NEVER`] where it does not end.
    pub end: Micros,
}

impl Window {
    /// The window of length `period` around `now`, when one window starts
    /// `before` the epoch; cut at the epoch.
    #[inline]
    pub fn multiple(period: u64, before: u64, now: Micros) -> Self {
        let period = period.max(1);
        let into = now.0.saturating_add(before) % period;
        Self { start: now.minus(into), end: now.plus(period - into) }
    }

    #[inline]
    pub(super) fn contains(&self, now: Micros) -> bool {
        self.start <= now && now < self.end
    }
}
