//! One window of a fixed limit.

use crate::core::time::Micros;

/// A half-open interval of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first microsecond in the window.
    pub start: Micros,
    /// The first microsecond after it. [`Micros::NEVER`] if it does not end.
    pub end: Micros,
}

impl Window {
    /// The window of `period` microseconds that holds `now`. Some window starts `before`
    /// microseconds before the epoch. A window that holds the epoch is cut there.
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
