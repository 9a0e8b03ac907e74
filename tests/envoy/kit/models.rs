//! Slow limits that are obviously right: they remember every grant.

/// Where a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    pub granted: bool,
    pub remaining: u64,
    /// Microseconds until the same would be granted; 0 when it was.
    pub retry: i64,
    /// Microseconds until all is back.
    pub reset: i64,
}

/// A limit of `count` a `period`, in microseconds.
pub trait Model {
    fn new(count: u64, period: i64) -> Self;
    /// Whether so many would be granted now.
    fn fits(&self, now: i64, n: u64) -> bool;
    fn take(&mut self, now: i64, n: u64);
    /// After a request for `n` that was `granted`.
    fn stand(&self, now: i64, n: u64, granted: bool) -> Stand;
}

/// Windows from the epoch on.
#[derive(Debug, Clone)]
pub struct Fixed {
    count: u64,
    period: i64,
    grants: Vec<(i64, u64)>,
}

impl Fixed {
    fn used(&self, now: i64) -> u64 {
        let window = now.div_euclid(self.period);
        self.grants.iter().filter(|(at, _)| at.div_euclid(self.period) == window).map(|(_, n)| n).sum()
    }
}

impl Model for Fixed {
    fn new(count: u64, period: i64) -> Self {
        Self { count, period, grants: Vec::new() }
    }

    fn fits(&self, now: i64, n: u64) -> bool {
        self.used(now) + n <= self.count
    }

    fn take(&mut self, now: i64, n: u64) {
        self.grants.push((now, n));
    }

    fn stand(&self, now: i64, n: u64, granted: bool) -> Stand {
        let used = self.used(now);
        let rest = self.period - now.rem_euclid(self.period);
        let retry = if granted || used + n <= self.count { 0 } else { rest };
        Stand { granted, remaining: self.count - used, retry, reset: if used == 0 { 0 } else { rest } }
    }
}

/// Any interval of the period's length.
#[derive(Debug, Clone)]
pub struct Sliding {
    count: u64,
    period: i64,
    grants: Vec<(i64, u64)>,
}

impl Sliding {
    fn used(&self, now: i64) -> u64 {
        self.grants.iter().filter(|(at, _)| at + self.period > now).map(|(_, n)| n).sum()
    }
}

impl Model for Sliding {
    fn new(count: u64, period: i64) -> Self {
        Self { count, period, grants: Vec::new() }
    }

    fn fits(&self, now: i64, n: u64) -> bool {
        self.used(now) + n <= self.count
    }

    fn take(&mut self, now: i64, n: u64) {
        self.grants.push((now, n));
    }

    fn stand(&self, now: i64, n: u64, granted: bool) -> Stand {
        let ends = || self.grants.iter().map(|(at, _)| at + self.period).filter(|end| *end > now);
        let retry = if granted || self.fits(now, n) {
            0
        } else {
            ends().find(|end| self.fits(*end, n)).unwrap() - now
        };
        Stand {
            granted,
            remaining: self.count - self.used(now),
            retry,
            reset: ends().next_back().map_or(0, |end| end - now),
        }
    }
}
