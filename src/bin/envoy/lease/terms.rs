//! What a limit lets one of several Envoys use by itself, and what has to be
//! reserved for it beforehand.
//!
//! An assignment is a bucket of `burst` tokens, into which `fill` tokens come in
//! each `fill_seconds`. It is in force for [`TTL_SECONDS`] from its arrival on, so
//! within [`SPAN_SECONDS`] of being sent when it arrives within [`LATE_SECONDS`].
//!
//! What an assignment can use is reserved before it is sent, on a limit that counts
//! it for [`SPAN_SECONDS`] longer than the period: until one period after the last
//! moment at which it can be used.
//!
//! | periods | what is reserved | when it is settled |
//! |---|---|---|
//! | up to a minute | a share: `burst` + `fill`, which is the most in any period | released, and reserved anew with each report: who goes on holds it |
//! | longer | the units of the next [`SPAN_SECONDS`], on the limit itself, too | committed at the use that is reported |

use crate::config::Rule;
use crate::config::rule::Facts;

/// How long an assignment is in force; Envoys report every 5 s, whatever they are
/// told.
pub const TTL_SECONDS: u64 = 15;
/// How long it may take to arrive.
pub const LATE_SECONDS: u64 = 5;
/// An assignment may be over when the next one arrives, if that is sent so long
/// after it.
pub const FORGOTTEN_SECONDS: u64 = TTL_SECONDS - LATE_SECONDS;
/// When an assignment is surely over, from when it was sent on.
pub const SPAN_SECONDS: u64 = TTL_SECONDS + LATE_SECONDS;
/// The longest period of which a share is held.
const LONGEST_SHARED_US: u64 = 60 * SECOND_US;
/// The longest period that a limit has: 366 days.
const LONGEST_US: u64 = 366 * 24 * 3600 * SECOND_US;
const SECOND_US: u64 = 1_000_000;
/// Envoy counts tokens in 32 bits.
const MOST_TOKENS: u64 = u32::MAX as u64;

/// What a bucket of Envoy holds and gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The most that it holds.
    pub burst: u64,
    /// What comes into it in each interval.
    pub fill: u64,
}

impl Tokens {
    /// The most that it allows in an interval.
    pub const fn most(self) -> u64 {
        self.burst.saturating_add(self.fill)
    }

    /// What covers both, and each change from one to the other.
    pub fn or(self, other: Self) -> Self {
        Self { burst: self.burst.max(other.burst), fill: self.fill.max(other.fill) }
    }

    /// It allows nothing.
    pub const fn is_none(self) -> bool {
        self.burst == 0
    }
}

/// What an Envoy was allowed before, and may still use or has used in the period
/// that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// In the bucket that it has: a changed one goes on with the part of its tokens
    /// that the old one had.
    pub going_on: Tokens,
    /// In buckets that are gone: the next one starts full.
    pub gone: u64,
}

impl Before {
    /// What covers it together with `next`.
    pub fn and(self, next: Tokens) -> u64 {
        self.going_on.or(next).most().saturating_add(self.gone)
    }
}

/// What is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// A part of the count, for as long as it is used.
    Share,
    /// Units that will be used.
    Units,
}

/// A limit that is lent in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// As a command takes it.
    own: String,
    pub count: u64,
    period_us: u64,
}

impl Terms {
    /// Of a rule that is one limit, of which count and period are known.
    pub fn of(rule: &Rule) -> Option<Self> {
        let [facts] = rule.facts.as_slice() else { return None };
        let Facts { capacity: Some(count), period_us: Some(period_us), .. } = *facts else { return None };
        Some(Self { own: rule.limits.clone(), count, period_us })
    }

    pub const fn footing(&self) -> Footing {
        if self.period_us <= LONGEST_SHARED_US { Footing::Share } else { Footing::Units }
    }

    /// The interval of the bucket, in which all that is reserved is used at most.
    pub const fn fill_seconds(&self) -> u64 {
        match self.footing() {
            // Not 0, of a period below a second: it is more than is needed.
            Footing::Share => self.period_us.div_ceil(SECOND_US),
            Footing::Units => SPAN_SECONDS,
        }
    }

    /// The limits that a reservation is on.
    pub fn limits(&self) -> String {
        let counted_us = self.period_us.saturating_add(SPAN_SECONDS * SECOND_US).min(LONGEST_US);
        let longer = format!("{}/{}ms:name=lease", self.count, counted_us.div_ceil(1000));
        match self.footing() {
            Footing::Share => longer,
            Footing::Units => format!("{},{longer}", self.own),
        }
    }

    #[cfg(test)]
    pub const fn period_ms(&self) -> u64 {
        self.period_us.div_ceil(1000)
    }

    /// How long what was allowed has to be covered after something else is.
    pub const fn afterwards_ms(&self) -> u64 {
        let late = LATE_SECONDS * 1000;
        match self.footing() {
            Footing::Share => late + self.period_us.div_ceil(1000),
            Footing::Units => late,
        }
    }

    /// The bucket that uses at most `units` in its interval; none of less than two,
    /// for a bucket holds one token and gets one at least.
    ///
    /// What may be used at once is lost to the rate: a tenth of a share, a quarter of
    /// units.
    pub fn tokens(&self, units: u64) -> Tokens {
        let units = units.min(MOST_TOKENS);
        if units < 2 {
            return Tokens::default();
        }
        let burst = match self.footing() {
            Footing::Share => (units / 10).max(1),
            Footing::Units => (units / 4).max(1),
        };
        Tokens { burst, fill: units - burst }
    }

    /// The most of `wanted` that `granted` units cover beside `before`.
    pub fn covered(&self, wanted: u64, before: Before, granted: u64) -> Tokens {
        let (mut good, mut bad) = (0, wanted.saturating_add(1));
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if before.and(self.tokens(middle)) <= granted { good = middle } else { bad = middle }
        }
        self.tokens(good)
    }

    /// How much one of `envoys` gets.
    ///
    /// `free` are the units that nobody has reserved and its own that are not used;
    /// `demand` is how many it would use in an interval of the bucket.
    pub fn wanted(&self, envoys: u64, free: u64, demand: u64) -> u64 {
        let envoys = envoys.max(1);
        match self.footing() {
            Footing::Share => (self.count / envoys).max(2).min(self.count),
            Footing::Units => {
                let fair = (free / envoys).max(2);
                // Half more than it used, and enough to begin with.
                demand.saturating_add(demand / 2).max(fair / 10).max(2).min(fair)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Algorithm, Unit};
    use proptest::prelude::*;

    fn terms(count: u32, unit: Unit) -> Terms {
        Terms::of(&Rule::new(Algorithm::Fixed, count, unit)).unwrap()
    }

    #[test]
    fn short_periods_are_shared_and_long_ones_counted() {
        let minute = terms(100, Unit::Minute);
        assert_eq!(minute.footing(), Footing::Share);
        assert_eq!(minute.limits(), "100/80000ms:name=lease");
        assert_eq!((minute.fill_seconds(), minute.afterwards_ms()), (60, 65_000));
        assert_eq!(minute.tokens(50), Tokens { burst: 5, fill: 45 });
        let hour = terms(100, Unit::Hour);
        assert_eq!(hour.footing(), Footing::Units);
        assert_eq!(hour.limits(), "fixed:100/h,100/3620000ms:name=lease");
        assert_eq!((hour.fill_seconds(), hour.afterwards_ms()), (20, 5000));
        assert_eq!(hour.tokens(50), Tokens { burst: 12, fill: 38 });
        for limits in [minute.limits(), hour.limits(), terms(7, Unit::Year).limits()] {
            assert!(floodgate::core::limits::Expression::parse(limits.as_bytes()).is_ok(), "{limits}");
        }
    }

    #[test]
    fn what_cannot_be_lent() {
        let of = |limits: &str| Terms::of(&Rule::written(limits).unwrap()).map(|terms| terms.count);
        assert_eq!([of("@gold"), of("1/s,10/m"), of("unlimited")], [None, None, None]);
        assert_eq!([of("10/500ms"), of("bucket:10/s:burst=50")], [Some(10), Some(50)]);
        assert_eq!(terms(1, Unit::Second).tokens(1), Tokens::default());
        assert_eq!(Terms::of(&Rule::written("10/500ms").unwrap()).unwrap().fill_seconds(), 1);
    }

    #[test]
    fn all_get_the_same() {
        let second = terms(100, Unit::Second);
        assert_eq!([1, 3, 4, 60, 1000].map(|envoys| second.wanted(envoys, 0, 0)), [100, 33, 25, 2, 2]);
        let day = terms(1000, Unit::Day);
        // As much as it uses, but not more than its part.
        assert_eq!(day.wanted(1, 1000, 0), 100);
        assert_eq!(day.wanted(1, 1000, 200), 300);
        assert_eq!(day.wanted(4, 1000, 900), 250);
        assert_eq!(day.wanted(4, 0, 900), 2);
    }

    proptest! {
        #[test]
        fn nothing_is_used_that_is_not_covered(
            wanted in 0u64..5000,
            granted in 0u64..5000,
            going_on in 0u64..5000,
            gone in 0u64..1000,
            long in any::<bool>(),
        ) {
            let terms = terms(5000, if long { Unit::Day } else { Unit::Second });
            let before = Before { going_on: terms.tokens(going_on), gone };
            let tokens = terms.covered(wanted, before, granted);
            prop_assert!(tokens.most() <= wanted);
            prop_assert!(tokens.is_none() || before.and(tokens) <= granted);
            // And not one less than that.
            let more = terms.tokens(tokens.most().max(1) + 1);
            prop_assert!(more.most() > wanted || before.and(more) > granted);
        }
    }
}
