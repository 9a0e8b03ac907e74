//! C1: a clock that steps forward and back never denies for longer than one
//! period, or the time that a bucket takes to fill.

use crate::checked_limiter::{CheckedLimiter, DAY, cases, cost_of, count, parse, period_ms, start};
use crate::support::EffectKey;
use floodgate::core::limits::{Taken, full_at};
use floodgate::core::time::Micros;
use floodgate::server::main_thread::StandIn;
use floodgate::types::effect::ratelimit::{ChargeUnits, RateLimitChange};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_denial_outlasts_a_period(
        algorithm in 0u8..5,
        count in count(),
        ms in period_ms(),
        start in start(),
        steps in prop::collection::vec((-3000i64..3000, prop::bool::ANY, 0u16..=1000), 1..24),
    ) {
        let period = ms * 1000;
        let (text, longest) = match algorithm {
            0 => (format!("{count}/{ms}ms"), if count > 64 { period / 50 * 51 } else { period }),
            1 => (format!("bucket:{count}/{ms}ms"), period),
            2 => (format!("fixed:{count}/{ms}ms"), period),
            3 => (format!("fixed:{count}/{ms}ms:start=first"), period),
            _ => (format!("fixed:{count}/d:tz=Europe/Paris"), DAY + DAY / 24),
        };
        let mut limiter = CheckedLimiter::new(&text);
        let mut now = start as i64;
        for (step, near, part) in steps {
            // Steps from microseconds to three periods, in both directions.
            now = (now + if near { step } else { step * (period / 1000) as i64 }).clamp(0, 1 << 51);
            let at = now as u64;
            let before = limiter.clone();
            before.check_full(at);
            let reply = limiter.acquire(at, cost_of(part, count));
            prop_assert!(limiter.full_at(at) - at <= longest, "full after {}", limiter.full_at(at) - at);
            // Recording the step changes no answer.
            let other = before.would(at, &floodgate::core::limits::Request::of(cost_of(part, count)));
            prop_assert_eq!(reply.granted, other.granted);
            if !reply.is_granted() {
                prop_assert_eq!(limiter.used(0, at), before.used(0, at));
                // A step that nobody records is over when the clock comes forward.
                prop_assert!(limiter.full_at(at) <= before.full_at(at));
                prop_assert!(!limiter.would(at, &floodgate::core::limits::Request::of(1)).record_clock);
            }
            limiter.check_reply(at, &floodgate::core::limits::Request::of(cost_of(part, count)), &reply);
            limiter.check_full(at);
        }
    }

    /// A bucket from the future counts as just empty for the limit that goes on with it, however much
    /// the old one held.
    #[test]
    fn another_bucket_is_no_emptier_than_empty(
        (old_count, old_burst, old_ms) in (count(), count(), prop::sample::select(vec![1u64, 1_000, 60_000])),
        (new_count, new_burst, new_ms) in (1..1000u64, 1..1000u64, prop::sample::select(vec![1u64, 1_000, 60_000])),
        is_listed in prop::bool::ANY,
        part in 0u16..=1000,
    ) {
        let stand_in = StandIn::enter();
        let mut key = EffectKey::new(stand_in.main());
        let old = format!("bucket:{old_count}/{old_ms}ms:burst={old_burst}:name=x");
        let new = format!("bucket:{new_count}/{new_ms}ms:burst={new_burst}:name=x");
        let now = 1_800_000_000_000_123u64;
        let fills = u128::from(old_burst) * u128::from(old_ms * 1000) / u128::from(old_count);
        let Ok(fills) = u64::try_from(fills) else { return Ok(()) };
        prop_assume!(fills < DAY);
        key.take(now + fills + 1, &old, cost_of(part, old_burst));
        if !is_listed {
            key.take(now + fills + 1, "5/d", 1);
        }
        let change = ChargeUnits { limits: Some(&new), taken: Taken::new([1]), used: None };
        key.apply(now, RateLimitChange::Charge(change));
        let limits = parse(&new);
        let full = full_at(limits.as_slice(), &key.taken_over_by(&limits, now), Micros(now)).0 - now;
        let longest = ((new_burst + 1) * new_ms * 1000).div_ceil(new_count);
        prop_assert!(full <= longest, "full after {full}, two of {longest}");
    }

    /// What was granted stays used for its period by any clock: a step back
    /// frees nothing.
    #[test]
    fn stepping_back_frees_nothing(count in count(), ms in period_ms(), back in 0u64..2_000, part in 0u16..=1000) {
        let period = ms * 1000;
        let now = 1_800_000_000_000_123u64;
        let mut limiter = CheckedLimiter::new(&format!("{count}/{ms}ms"));
        let cost = cost_of(part, count);
        limiter.acquire(now, cost);
        let earlier = now - period / 1000 * back;
        prop_assert_eq!(limiter.used(0, earlier), cost);
        prop_assert_eq!(limiter.used(0, earlier + period - 1), cost);
    }
}
