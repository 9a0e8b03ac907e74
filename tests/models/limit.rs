//! One limit by a log of its grants.
//!
//! It promises whether a request fits, what is left, when the same would be granted, and
//! when all is back.

use super::grants::GrantLog;

/// Which grants count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Those of the window around now; windows begin at multiples of the period.
    Fixed,
    /// Those of the period that ends now.
    Sliding,
}

/// A limit of `count` a `period`. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct LimitModel {
    counting: Counting,
    count: u64,
    period: u64,
    grants: GrantLog,
}

/// Where a limit stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    pub granted: bool,
    pub remaining: u64,
    /// Until the same would be granted; 0 when it was.
    pub retry: u64,
    /// Until all is back.
    pub reset: u64,
}

impl LimitModel {
    pub fn new(counting: Counting, count: u64, period: u64) -> Self {
        Self { counting, count, period, grants: GrantLog::default() }
    }

    fn used(&self, now: u64) -> u64 {
        match self.counting {
            Counting::Fixed => self.grants.in_window(now, self.period),
            Counting::Sliding => self.grants.younger(now, self.period),
        }
    }

    /// Whether so many would be granted now.
    pub fn fits(&self, now: u64, units: u64) -> bool {
        self.used(now) + units <= self.count
    }

    pub fn take(&mut self, now: u64, units: u64) {
        self.grants.take(now, units);
    }

    /// Moments at which units come back, the soonest first.
    fn ends(&self, now: u64) -> Vec<u64> {
        match self.counting {
            Counting::Fixed => {
                let end = now - now % self.period + self.period;
                if self.used(now) > 0 { vec![end] } else { Vec::new() }
            }
            Counting::Sliding => self.grants.ends(now, self.period).collect(),
        }
    }

    /// After a request for so many that was `granted`.
    pub fn stand(&self, now: u64, units: u64, granted: bool) -> Stand {
        let ends = self.ends(now);
        let retry = if granted || self.fits(now, units) {
            0
        } else {
            ends.iter().find(|end| self.fits(**end, units)).expect("it fits at last") - now
        };
        let reset = ends.last().map_or(0, |end| end - now);
        Stand { granted, remaining: self.count - self.used(now), retry, reset }
    }
}
