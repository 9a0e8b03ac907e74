//! The part of a limit that one of several Envoys may use by itself, and the units to reserve for
//! it beforehand.
//!
//! An assignment is a bucket of `burst` tokens, into which `fill` tokens come in each
//! `fill_seconds`. It is in force for [`TTL_SECONDS`] from its arrival on. A report and its answer
//! take at most [`LATE_SECONDS`] together. So an Envoy uses an assignment only within
//! [`SPAN_SECONDS`] of the report that led to it.
//!
//! What an assignment can use is reserved before the assignment is sent. The reservation is on a
//! limit that counts it for [`SPAN_SECONDS`] longer than the period. So it counts until one period
//! after the last moment at which the assignment can be used.
//!
//! | periods | what is reserved | how it is settled |
//! |---|---|---|
//! | up to a minute | a share: `burst` + `fill`, the most that can be used in any period | released and reserved again with each report, so that an active Envoy keeps it |
//! | longer | the units of the next [`SPAN_SECONDS`], also on the limit itself | committed at the reported use |
//!
//! No unit is kept back. An Envoy that was idle can use all that is reserved for it in one period,
//! and the `model` finds it doing so. It can use `burst` of it at once. An Envoy that uses its
//! bucket all the time gets only `fill` in each interval, so it loses the burst. A bucket needs a
//! burst, because requests do not come evenly and a full bucket drops the tokens that come. The
//! burst is not needed for late messages: [`SPAN_SECONDS`] and [`LeaseTerms::afterwards_ms`] cover
//! those.

use crate::config::DescriptorLimits;
use crate::config::rule::Facts;
use floodgate::core::limits::Expression;

/// The time for which an assignment is in force. Envoys report every 5 s, whatever they are
/// assigned.
pub const TTL_SECONDS: u64 = 15;
/// The longest time from the moment at which the Envoy counts its use for a report to the arrival
/// of the answer.
pub const LATE_SECONDS: u64 = 5;
/// If the next assignment is sent at least this long after one, that one may be over when the next
/// arrives.
pub const FORGOTTEN_SECONDS: u64 = TTL_SECONDS - LATE_SECONDS;
/// The time after a report at which the assignment in its answer is certainly over.
pub const SPAN_SECONDS: u64 = TTL_SECONDS + LATE_SECONDS;
/// The longest period, in microseconds, of which a share is reserved.
const LONGEST_SHARED_US: u64 = 60 * SECOND_US;
/// The longest period of a limit: 366 days, in microseconds.
const LONGEST_US: u64 = 366 * 24 * 3600 * SECOND_US;
const SECOND_US: u64 = 1_000_000;
/// The most tokens of a bucket, because Envoy counts them in 32 bits.
const MOST_TOKENS: u64 = u32::MAX as u64;
/// The number of units in a share for each token of its burst: a tenth of the units may be used at
/// once.
const SHARE_TO_BURST: u64 = 10;
/// The number of units of a long period for each token of the burst: a quarter of the units may be
/// used at once. They are half more than an Envoy needs in [`SPAN_SECONDS`], so that less is lost.
const UNITS_TO_BURST: u64 = 4;

/// The bucket of an assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The most tokens in the bucket.
    pub burst: u64,
    /// The tokens that come into the bucket in each interval.
    pub fill: u64,
}

impl Tokens {
    /// True if the bucket allows nothing.
    pub const fn is_none(self) -> bool {
        self.burst == 0
    }
}

/// What a bucket may do in an interval in which its size is changed.
///
/// A changed bucket keeps the part that was filled, and not the number of its tokens. So this
/// counts parts of a bucket. They come as fast as in the assignment that fills fastest, and each
/// part is worth the most tokens in the assignment with the largest burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResizedBucket {
    burst: u64,
    /// The assignment that fills fastest from empty to full.
    fastest: Tokens,
}

impl ResizedBucket {
    /// Adds an assignment.
    pub fn or(self, other: Tokens) -> Self {
        if other.is_none() {
            return self;
        }
        let speed = |one: Tokens, of: Tokens| u128::from(one.fill) * u128::from(of.burst);
        let faster = self.fastest.is_none() || speed(other, self.fastest) > speed(self.fastest, other);
        Self { burst: self.burst.max(other.burst), fastest: if faster { other } else { self.fastest } }
    }

    /// The most requests that all assignments together allow in an interval.
    pub fn most(self) -> u64 {
        let whole = u128::from(self.fastest.burst.max(1));
        let fill = (u128::from(self.burst) * u128::from(self.fastest.fill)).div_ceil(whole);
        self.burst.saturating_add(u64::try_from(fill).unwrap_or(u64::MAX))
    }
}

/// The requests that an Envoy was allowed before, and that it may still use or has used in the
/// period that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EarlierUse {
    /// The requests of the bucket that it has now.
    pub current: ResizedBucket,
    /// The requests of buckets that are gone. The next bucket starts full.
    pub gone: u64,
}

impl EarlierUse {
    /// The units that cover all these requests together with those of `next`.
    pub fn and(self, next: Tokens) -> u64 {
        self.current.or(next).most().saturating_add(self.gone)
    }
}

/// What is reserved for an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// A part of the count, for as long as the Envoy is active.
    Share,
    /// The units that the Envoy will use.
    Units,
}

/// A limit that is lent in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The limits of the rule as commands take them. Those in the shadow are counted, too.
    own: String,
    /// The units that may be lent in a period.
    pub count: u64,
    period_us: u64,
    /// The number of units for each token of the burst.
    to_burst: u64,
}

impl LeaseTerms {
    /// The terms of a rule. `None` unless one limit of the rule can deny, and that limit
    ///
    /// - has a known count and period,
    /// - has a period short enough to be counted for [`SPAN_SECONDS`] longer, and
    /// - charges the units of a reservation, where they are reserved on the limit itself.
    pub fn of(rule: &DescriptorLimits) -> Option<Self> {
        let mut denying = rule.denying();
        let (Some(facts), None) = (denying.next(), denying.next()) else { return None };
        // No request of an Envoy is critical.
        let Facts { usable: Some(count), longest_us: Some(period_us), per_call, .. } = *facts else {
            return None;
        };
        if period_us > LONGEST_US - SPAN_SECONDS * SECOND_US {
            return None;
        }
        if per_call && kind(period_us) == LeaseKind::Units {
            return None;
        }
        let to_burst = match kind(period_us) {
            LeaseKind::Share => SHARE_TO_BURST,
            LeaseKind::Units => UNITS_TO_BURST,
        };
        let terms = Self { own: rule.limits.clone(), count, period_us, to_burst };
        // A key cannot have one limit more than the most.
        Expression::parse(terms.limits().as_bytes()).is_ok().then_some(terms)
    }

    /// The same terms with another burst.
    #[cfg(test)]
    pub fn with_burst(self, to_burst: u64) -> Self {
        Self { to_burst, ..self }
    }

    pub const fn kind(&self) -> LeaseKind {
        kind(self.period_us)
    }

    /// The interval of the bucket, in seconds. In one interval the bucket uses at most what is
    /// reserved.
    pub const fn fill_seconds(&self) -> u64 {
        match self.kind() {
            // Rounded up, so that it is not 0 for a period below a second. A longer interval only
            // allows less.
            LeaseKind::Share => self.period_us.div_ceil(SECOND_US),
            LeaseKind::Units => SPAN_SECONDS,
        }
    }

    /// The time for which a reservation counts, in milliseconds.
    pub const fn counted_ms(&self) -> u64 {
        self.period_us.div_ceil(1000) + SPAN_SECONDS * 1000
    }

    /// The limits on which the reservation is made.
    pub fn limits(&self) -> String {
        let longer = format!("{}/{}ms:name=rlqs-lease", self.count, self.counted_ms());
        match self.kind() {
            LeaseKind::Share => longer,
            LeaseKind::Units => format!("{},{longer}", self.own),
        }
    }

    #[cfg(test)]
    pub const fn period_ms(&self) -> u64 {
        self.period_us.div_ceil(1000)
    }

    /// How long in milliseconds a replaced assignment has to be covered: until the next one has
    /// arrived. What was used by then counts for one period longer of a share. Of units it counts
    /// until a report tells it. That report was sent later, and may be late itself.
    pub const fn afterwards_ms(&self) -> u64 {
        let late = LATE_SECONDS * 1000;
        match self.kind() {
            LeaseKind::Share => late + self.period_us.div_ceil(1000),
            LeaseKind::Units => 2 * late,
        }
    }

    /// The bucket that uses at most `units` in its interval. It is empty for less than 2 units,
    /// because a bucket holds at least one token and gets at least one.
    pub fn tokens(&self, units: u64) -> Tokens {
        let units = units.min(MOST_TOKENS);
        if units < 2 {
            return Tokens::default();
        }
        // The burst is rounded up, so that no bucket fills faster than one of round numbers. So a
        // change between two buckets needs no more units than the larger bucket.
        let burst = units.div_ceil(self.to_burst).min(units - 1);
        Tokens { burst, fill: units - burst }
    }

    /// The largest bucket of at most `wanted` units that `granted` units cover together with
    /// `before`.
    pub fn covered(&self, wanted: u64, before: EarlierUse, granted: u64) -> Tokens {
        let fits = |units: u64| before.and(self.tokens(units)) <= granted;
        // Among buckets with one burst, a larger one fills faster and needs more. The smallest
        // bucket of a larger burst needs more than the smallest one before. But between two bursts
        // the need goes down. So the burst is searched first, and then the bucket.
        let smallest = |burst: u64| (burst - 1).saturating_mul(self.to_burst).saturating_add(1);
        let burst = last(1, wanted.div_ceil(self.to_burst), |burst| fits(smallest(burst)));
        let Some(burst) = burst else { return Tokens::default() };
        let largest = burst.saturating_mul(self.to_burst).min(wanted);
        self.tokens(last(smallest(burst), largest, fits).unwrap_or(0))
    }

    /// The units to give to one of `envoys`.
    ///
    /// `free` are the units that nobody has reserved, and those of this Envoy that it has not used.
    /// `demand` is the number of units that it would use in an interval of the bucket.
    pub fn wanted(&self, envoys: u64, free: u64, demand: u64) -> u64 {
        let envoys = envoys.max(1);
        match self.kind() {
            LeaseKind::Share => (self.count / envoys).max(2).min(self.count),
            LeaseKind::Units => {
                let fair = (free / envoys).max(2);
                // It gets half more than it would use, and enough to start with.
                demand.saturating_add(demand / 2).max(fair / 10).max(2).min(fair)
            }
        }
    }
}

/// The last good number of a range in which the good numbers come first. `None` if the first is not
/// good.
fn last(first: u64, last: u64, good: impl Fn(u64) -> bool) -> Option<u64> {
    if first > last || !good(first) {
        return None;
    }
    let (mut low, mut high) = (first, last);
    while low < high {
        let middle = high - (high - low) / 2;
        if good(middle) { low = middle } else { high = middle - 1 }
    }
    Some(low)
}

const fn kind(period_us: u64) -> LeaseKind {
    if period_us <= LONGEST_SHARED_US { LeaseKind::Share } else { LeaseKind::Units }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TimeUnit, UnitAlgorithm};
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    fn terms(count: u32, unit: TimeUnit) -> LeaseTerms {
        LeaseTerms::of(&DescriptorLimits::new(UnitAlgorithm::Fixed, count, unit)).unwrap()
    }

    #[test]
    fn short_periods_are_shared_and_long_ones_counted() {
        let minute = terms(100, TimeUnit::Minute);
        assert_eq!(minute.kind(), LeaseKind::Share);
        assert_eq!(minute.limits(), "100/80000ms:name=rlqs-lease");
        assert_eq!((minute.fill_seconds(), minute.afterwards_ms()), (60, 65_000));
        assert_eq!(minute.tokens(50), Tokens { burst: 5, fill: 45 });
        let hour = terms(100, TimeUnit::Hour);
        assert_eq!(hour.kind(), LeaseKind::Units);
        assert_eq!(hour.limits(), "fixed:100/h,100/3620000ms:name=rlqs-lease");
        assert_eq!((hour.fill_seconds(), hour.afterwards_ms()), (20, 10_000));
        assert_eq!(hour.tokens(50), Tokens { burst: 13, fill: 37 });
        for limits in [minute.limits(), hour.limits(), terms(7, TimeUnit::Year).limits()] {
            assert!(Expression::parse(limits.as_bytes()).is_ok(), "{limits}");
        }
    }

    #[test]
    fn what_cannot_be_lent() {
        let of = |limits: &str| {
            LeaseTerms::of(&DescriptorLimits::written(limits).unwrap()).map(|terms| terms.count)
        };
        assert_eq!([of("@gold"), of("1/s,10/m"), of("unlimited")], [None, None, None]);
        assert_eq!([of("10/500ms"), of("bucket:10/s:burst=50")], [Some(10), Some(50)]);
        // Limits that never deny do not matter.
        assert_eq!(
            [of("5/m:shadow,10/m"), of("10/h,unlimited"), of("10/m:shadow")],
            [Some(10), Some(10), None]
        );
        // What is kept for critical requests is not lent.
        assert_eq!([of("100/m:keep=30%"), of("100/h:keep=50%")], [Some(70), Some(50)]);
        // A reservation of many units would be charged as one call.
        assert_eq!([of("10/m:per=call"), of("10/h:per=call")], [Some(10), None]);
        // A year of 366 days is the longest period, so it cannot be counted for longer than that.
        assert_eq!([of("10/365d"), of("10/366d"), of("fixed:10/year")], [Some(10), None, None]);
        assert_eq!(terms(1, TimeUnit::Second).tokens(1), Tokens::default());
        assert_eq!(
            LeaseTerms::of(&DescriptorLimits::written("10/500ms").unwrap()).unwrap().fill_seconds(),
            1
        );
    }

    #[test]
    fn a_zone_has_days_of_more_than_24_hours() {
        let counted =
            |limits: &str| LeaseTerms::of(&DescriptorLimits::written(limits).unwrap()).unwrap().counted_ms();
        let day = 24 * 3_600_000;
        assert_eq!(counted("fixed:10/day"), day + 20_000);
        assert_eq!(counted("fixed:10/day:tz=Europe/Paris"), day + 2 * 3_600_000 + 20_000);
        assert_eq!(counted("fixed:10/month:tz=Europe/Paris"), 31 * day + 2 * 3_600_000 + 20_000);
    }

    #[test]
    fn parts_of_a_changing_bucket_count_where_they_are_worth_most() {
        let of = |all: &[(u64, u64)]| {
            let all = all.iter().map(|(burst, fill)| Tokens { burst: *burst, fill: *fill });
            all.fold(ResizedBucket::default(), ResizedBucket::or).most()
        };
        assert_eq!([of(&[]), of(&[(0, 0)]), of(&[(3, 27)])], [0, 0, 30]);
        assert_eq!([of(&[(3, 27), (6, 54)]), of(&[(6, 54), (3, 27), (1, 4)])], [60, 60]);
        // One token of 18 in each interval is worth two tokens of the larger bucket.
        assert_eq!(of(&[(1, 18), (2, 18)]), 2 + 36);
        assert_eq!(of(&[(2, 18), (2, 17)]), 20);
    }

    #[test]
    fn all_get_the_same() {
        let second = terms(100, TimeUnit::Second);
        assert_eq!([1, 3, 4, 60, 1000].map(|envoys| second.wanted(envoys, 0, 0)), [100, 33, 25, 2, 2]);
        let day = terms(1000, TimeUnit::Day);
        // It gets what it uses and half more, but not more than its part.
        assert_eq!(day.wanted(1, 1000, 0), 100);
        assert_eq!(day.wanted(1, 1000, 200), 300);
        assert_eq!(day.wanted(4, 1000, 900), 250);
        assert_eq!(day.wanted(4, 0, 900), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/proptest-regressions/lease.txt"))),
            ..ProptestConfig::default()
        })]

        #[test]
        fn nothing_is_used_that_is_not_covered_and_nothing_is_left(
            wanted in 0u64..300,
            granted in 0u64..600,
            before in prop::collection::vec(0u64..300, 0..4),
            gone in 0u64..100,
            to_burst in 2u64..12,
        ) {
            let terms = terms(5000, TimeUnit::Day).with_burst(to_burst);
            let current = before.iter().fold(ResizedBucket::default(), |all, one| all.or(terms.tokens(*one)));
            let before = EarlierUse { current, gone };
            let fits = |units: &u64| before.and(terms.tokens(*units)) <= granted;
            let most = (0..=wanted).rev().find(fits).unwrap_or(0);
            prop_assert_eq!(terms.covered(wanted, before, granted), terms.tokens(most));
        }

        #[test]
        fn the_largest_numbers_are_no_trouble(
            wanted in any::<u64>(),
            granted in any::<u64>(),
            old in any::<u64>(),
            gone in any::<u64>(),
            envoys in any::<u64>(),
        ) {
            let terms = terms(u32::MAX, TimeUnit::Day);
            let before = EarlierUse { current: ResizedBucket::default().or(terms.tokens(old)), gone };
            let tokens = terms.covered(wanted, before, granted);
            prop_assert!(tokens.is_none() || before.and(tokens) <= granted);
            prop_assert!(terms.wanted(envoys, wanted, granted) >= 2);
        }
    }
}
