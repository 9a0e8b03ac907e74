//! The expiry of a key is left alone where a change leaves its end as it was: that
//! must be so, whatever else the key has.

use floodgate::core::time::Micros;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{AppliedRateLimit, RateLimitEffect};
use floodgate::types::ratelimit::{Lifetime, RateLimit};
use floodgate::types::until::Until;
use proptest::prelude::*;

use crate::strategies::{LIMITS, Made, made};

/// A key and the end that was last told of it.
#[derive(Default)]
struct Key {
    value: Option<RateLimit>,
    end: Option<Until>,
    /// How often the end was as before.
    spared: usize,
}

impl Key {
    fn apply(&mut self, main: MainThread, effect: &RateLimitEffect<'_>) {
        let lifetime = match effect.apply(main, self.value.as_mut()) {
            Ok(AppliedRateLimit::InPlace(lifetime)) => lifetime,
            Ok(AppliedRateLimit::Created(created, lifetime)) => {
                (self.value, self.end) = (Some(created), None);
                lifetime
            }
            Ok(AppliedRateLimit::Nothing) | Err(_) => return,
        };
        self.end = match lifetime {
            Lifetime::Over => None,
            Lifetime::Until(until) | Lifetime::StillUntil(until) => Some(until),
            Lifetime::AsBefore(until) => {
                assert_eq!(self.end, Some(until));
                self.spared += 1;
                Some(until)
            }
        };
        if self.end.is_none() {
            self.value = None;
        }
    }
}

fn step() -> impl Strategy<Value = (u64, bool)> {
    let steps =
        prop::sample::select(&[0, 0, 0, 1, 999, 40_000, 3_000_000, 9_000_000_000, 90_000_000_000][..]);
    (steps, prop::bool::weighted(0.1))
}

/// Mostly grants of the limits that the key has.
fn effects() -> impl Strategy<Value = Vec<(Made, (u64, bool))>> {
    let more = prop::collection::vec(0..4u64, 8).prop_map(|units| Made::Take(None, units));
    prop::collection::vec((prop_oneof![4 => more, 1 => made()], step()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn an_end_that_is_as_before_is(
        text in prop::sample::select(LIMITS),
        units in prop::collection::vec(1..4u64, 8),
        effects in effects(),
    ) {
        let alone = StandIn::enter();
        let mut now = Micros(1_772_366_400_000_000);
        let mut key = Key::default();
        key.apply(alone.main(), &Made::Take(Some(text), units).at(now));
        for (made, (step, back)) in effects {
            now = if back { now.minus(step) } else { now.plus(step) };
            key.apply(alone.main(), &made.at(now));
        }
    }
}

#[test]
fn grants_of_one_moment_leave_the_end_where_it_is() {
    let alone = StandIn::enter();
    let now = Micros(1_772_366_400_123_456);
    for (text, spared) in [
        ("100/m", 2),
        ("fixed:7/h", 2),
        ("100/m,1000/h", 0),
        ("fixed:7/h:shadow", 2),
        ("fixed:7/ever", 2),
        ("fixed:7/ever,5/m", 0),
        ("bucket:5/s", 0),
        ("100/m,bucket:5/d", 0),
    ] {
        let mut key = Key::default();
        for limits in [Some(text), None, None] {
            key.apply(alone.main(), &Made::Take(limits, vec![1, 1]).at(now));
        }
        assert_eq!(key.spared, spared, "{text}");
    }
}
