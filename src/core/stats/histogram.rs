//! A histogram of durations with buckets of powers of two. It has a fixed size, counts in one step,
//! and gives quantiles within a factor of two.

/// The number of buckets. The last one holds all longer durations.
pub const BUCKETS: usize = 32;

/// The number of durations in each bucket. Bucket `i` holds those of at most 2^i and more than
/// 2^(i-1), in the owner's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// A histogram without durations.
    pub const NONE: Self = Self { buckets: [0; BUCKETS], sum: 0 };

    /// Counts one duration.
    #[inline]
    pub fn add(&mut self, duration: u64) {
        let index = (u64::BITS - duration.saturating_sub(1).leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get_mut(index.min(BUCKETS - 1)) {
            *bucket = bucket.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all durations.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The upper bound of each bucket, with the number of durations up to it, as Prometheus counts.
    /// The last bound is `None`, for no bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets.iter().enumerate().scan(0u64, |sum, (index, n)| {
            *sum = sum.saturating_add(*n);
            Some(((index < BUCKETS - 1).then(|| 1 << index), *sum))
        })
    }

    /// The upper bound of the bucket that holds the quantile of `hundredths` / 100. `None` without
    /// durations.
    ///
    /// ```
    /// use floodgate::core::stats::histogram::Histogram;
    ///
    /// let mut times = Histogram::default();
    /// for us in [10, 12, 900] {
    ///     times.add(us);
    /// }
    /// assert_eq!(times.count(), 3);
    /// // The result is an upper bound within a factor of two.
    /// assert!(times.quantile(50).unwrap() >= 12);
    /// ```
    pub fn quantile(&self, hundredths: u64) -> Option<u64> {
        let rank = self.count().saturating_mul(hundredths).div_ceil(100).max(1);
        let (bound, _) = self.cumulative().find(|(_, n)| *n >= rank)?;
        Some(bound.unwrap_or(1 << (BUCKETS - 1)))
    }
}
