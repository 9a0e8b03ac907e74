//! Durations counted in buckets of powers of two: fixed memory, one step to
//! count, quantiles within a factor of two.

/// How many buckets there are; the last holds all that is longer.
pub const BUCKETS: usize = 32;

/// How many durations fell into each bucket: bucket `i` holds those of at most
/// 2^i and more than 2^(i-1), in whatever unit the owner counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Nothing counted.
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

    /// Counts what another counted, too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*more);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together.
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bucket's upper bound with how many are at most that long, as
    /// Prometheus counts; the last bound is `None`, for no bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.buckets.iter().enumerate().scan(0u64, |sum, (index, n)| {
            *sum = sum.saturating_add(*n);
            Some(((index < BUCKETS - 1).then(|| 1 << index), *sum))
        })
    }

    /// The upper bound of the bucket that the fraction `hundredths` of 100 falls
    /// into; `None` when nothing was counted.
    ///
    /// ```
    /// use floodgate::core::stats::histogram::Histogram;
    ///
    /// let mut times = Histogram::default();
    /// for us in [10, 12, 900] {
    ///     times.add(us);
    /// }
    /// assert_eq!(times.count(), 3);
    /// // An upper bound within a factor of two.
    /// assert!(times.quantile(50).unwrap() >= 12);
    /// ```
    pub fn quantile(&self, hundredths: u64) -> Option<u64> {
        let count = self.count();
        let rank = (count.saturating_mul(hundredths)).div_ceil(100).max(1);
        (count > 0)
            .then(|| {
                self.cumulative()
                    .find(|(_, n)| *n >= rank)
                    .map(|(bound, _)| bound.unwrap_or(1 << (BUCKETS - 1)))
            })
            .flatten()
    }
}
