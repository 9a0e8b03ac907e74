//! A bucket of fractions: tokens as whole multiples of one part of the period.
//!
//! It promises: it fills by `count` a period without rounding, and never above `burst`.

/// A token bucket that starts full. Times are in microseconds.
#[derive(Clone, Debug)]
pub struct FractionBucket {
    level: i128,
    most: i128,
    count: i128,
    unit: i128,
    at: u64,
}

impl FractionBucket {
    pub fn new(count: u64, period: u64, burst: u64, at: u64) -> Self {
        let most = i128::from(burst) * i128::from(period);
        Self { level: most, most, count: count.into(), unit: period.into(), at }
    }

    pub fn advance(&mut self, now: u64) {
        self.level = (self.level + i128::from(now - self.at) * self.count).min(self.most);
        self.at = now;
    }

    /// Takes so many whole tokens if they are there; says whether they were.
    pub fn take(&mut self, tokens: u64) -> bool {
        let parts = i128::from(tokens) * self.unit;
        let fits = self.level >= parts;
        self.level -= if fits { parts } else { 0 };
        fits
    }

    /// Takes tokens although they may not be there. Debt is at most one bucket.
    pub fn charge(&mut self, tokens: u64) {
        self.level = (self.level - i128::from(tokens) * self.unit).max(-self.most);
    }

    /// Tokens that are missing from a full bucket; one that came back in part is missing.
    pub fn missing(&self) -> u64 {
        u64::try_from((self.most - self.level + self.unit - 1) / self.unit).unwrap()
    }

    /// Whole tokens that are there.
    pub fn left(&self) -> u64 {
        u64::try_from(self.level / self.unit).unwrap()
    }

    /// Puts tokens back; what does not fit in is lost.
    pub fn give_back(&mut self, tokens: u64) {
        self.level = (self.level + i128::from(tokens) * self.unit).min(self.most);
    }
}
