//! Buckets of powers of two against the durations themselves.

use floodgate::core::stats::histogram::{BUCKETS, Histogram};
use proptest::prelude::*;

proptest! {
    #[test]
    fn buckets_count_what_is_at_most_their_bound(
        durations in prop::collection::vec(prop_oneof![0u64..100, 0u64..10_000_000, any::<u64>()], 0..200),
        split in any::<prop::sample::Index>(),
    ) {
        let mut histogram = Histogram::NONE;
        let mut other = Histogram::NONE;
        // Two that are put together are as one.
        let (some, others) = durations.split_at(split.index(durations.len() + 1));
        some.iter().for_each(|&d| histogram.add(d));
        others.iter().for_each(|&d| other.add(d));
        histogram.merge(&other);
        prop_assert_eq!(histogram.cumulative().count(), BUCKETS);
        for (bound, count) in histogram.cumulative() {
            let truth = durations.iter().filter(|&&d| bound.is_none_or(|bound| d <= bound)).count();
            prop_assert_eq!(count, truth as u64);
        }
        prop_assert_eq!(histogram.count(), durations.len() as u64);
        let sum = durations.iter().fold(0u64, |sum, d| sum.saturating_add(*d));
        prop_assert_eq!(histogram.sum(), sum);
    }

    #[test]
    fn quantiles_are_within_a_factor_of_two(
        mut durations in prop::collection::vec(1u64..1 << 30, 1..200),
        percent in 1u64..=100,
    ) {
        let mut histogram = Histogram::NONE;
        durations.iter().for_each(|&d| histogram.add(d));
        durations.sort_unstable();
        let rank = (durations.len() as u64 * percent).div_ceil(100) as usize;
        let truth = durations[rank - 1];
        let told = histogram.quantile(percent).unwrap();
        prop_assert!(truth <= told && told < truth * 2);
    }
}
