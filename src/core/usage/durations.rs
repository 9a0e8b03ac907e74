//! Counts of durations in logarithmic buckets, sixteen for each doubling.
//!
//! Durations of up to 31 ms are exact. Above, a quantile is off by at most 1/32 of the true value
//! (3.2 %), whatever the durations are.

/// The number of buckets for each doubling.
const STEPS: u64 = 16;
/// The number of milliseconds below which every value has its own bucket.
const EXACT: u64 = 2 * STEPS;
/// The longest duration that is distinguished, in milliseconds: 366 days.
const LONGEST_MS: u64 = 366 * 86_400_000;
/// The number of buckets.
pub const BUCKETS: u16 = bucket(LONGEST_MS) + 1;

#[allow(clippy::cast_possible_truncation)] // at most BUCKETS
const fn bucket(ms: u64) -> u16 {
    if ms < EXACT {
        return ms as u16;
    }
    // The bucket is given by the highest bit and the four bits below it.
    let doublings = ms.ilog2() - STEPS.ilog2();
    (doublings as u64 * STEPS + (ms >> doublings)) as u16
}

/// The middle of a bucket in milliseconds.
const fn middle(bucket: u16) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let doublings = bucket / STEPS - 1;
    ((bucket - doublings * STEPS) << doublings) + ((1 << doublings) - 1) / 2
}

/// The counts of durations in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// The buckets in use in ascending order, with their counts (never 0).
    counts: Vec<(u16, u64)>,
}

impl Durations {
    /// Adds `n` durations of `ms` milliseconds.
    pub fn add(&mut self, ms: u64, n: u64) {
        if n == 0 {
            return;
        }
        let bucket = bucket(ms.min(LONGEST_MS));
        match self.counts.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(at) => {
                if let Some((_, count)) = self.counts.get_mut(at) {
                    *count = count.saturating_add(n);
                }
            }
            Err(at) => {
                self.counts.reserve_exact(1);
                self.counts.insert(at, (bucket, n));
            }
        }
    }

    /// The `percent`-th percentile in milliseconds, by nearest rank. `None` without durations.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let all: u128 = self.counts.iter().map(|&(_, n)| u128::from(n)).sum();
        let rank = (all * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counts.iter().find(|&&(_, n)| {
            seen += u128::from(n);
            seen >= rank
        });
        found.map(|&(bucket, _)| middle(bucket))
    }

    /// The buckets in use and their counts, in ascending order.
    pub fn counts(&self) -> &[(u16, u64)] {
        &self.counts
    }

    /// Makes durations of what [`Durations::counts`] returned. `None` for counts that it cannot
    /// return.
    pub fn from_counts(counts: Vec<(u16, u64)>) -> Option<Self> {
        let ascending = counts.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
        let valid = counts.iter().all(|&(bucket, n)| bucket < BUCKETS && n > 0);
        (ascending && valid).then_some(Self { counts })
    }

    /// The bytes held outside the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<(u16, u64)>()
    }
}

// The cost in the module documentation of `usage` rests on this.
const _: () = assert!(BUCKETS <= 528);
