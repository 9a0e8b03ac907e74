//! Sliding limits against the plain list of all grants.

use crate::checked_limiter::{CheckedLimiter, cases, cost_of, count, period_ms, refund, start, steps};
use crate::models::grants::GrantLog;
use floodgate::core::limits::{Request, State, charge, touch};
use floodgate::core::time::Micros;
use floodgate::core::wire::Reader;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    /// S1, S2, S3, D4 and the reply, decision by decision.
    #[test]
    fn keeps_its_promises(count in count(), ms in period_ms(), start in start(), steps in steps(48)) {
        let mut limiter = CheckedLimiter::new(&format!("{count}/{ms}ms"));
        let period = ms * 1000;
        let mut grants = GrantLog::default();
        let mut now = start;
        for (gap, part) in steps {
            now += gap.of(period);
            let cost = cost_of(part, count);
            let request = Request::of(cost);
            let reply = limiter.acquire(now, cost);
            let in_period = grants.younger(now, period);
            if reply.is_granted() {
                prop_assert!(in_period + cost <= count, "S1");
                grants.take(now, cost);
            } else {
                prop_assert!(grants.younger(now, period / 50 * 51) + cost > count, "S2");
                prop_assert!(count > 64 || in_period + cost > count, "S3");
            }
            if count <= 64 {
                prop_assert_eq!(limiter.used(0, now), grants.younger(now, period), "S3");
            }
            limiter.check_reply(now, &request, &reply);
            limiter.check_full(now);
        }
        // Every half-open interval that starts at a grant, after the fact.
        for grant in grants.iter() {
            prop_assert!(grants.within(grant.at, period) <= count, "S1 afterwards");
        }
    }

    /// S1 and S2 of each unit, for units beyond the count, too (RL.CHARGE).
    #[test]
    fn debt_comes_back_in_time(
        count in 40u64..=64,
        ms in period_ms(),
        start in start(),
        parts in prop::collection::vec(1u64..40, 1..260),
    ) {
        let limiter = CheckedLimiter::new(&format!("{count}/{ms}ms"));
        let limit = &limiter.limits.as_slice()[0];
        let period = ms * 1000;
        let mut state = State::Fresh;
        let mut grants = GrantLog::default();
        let mut now = start;
        for part in parts {
            // From many charges in one period to few.
            now += (period / 2000 * part).max(1);
            grants.take(now, charge(limit, &mut state, Micros(now), 1));
            let used = limit.rule().used(&state, Micros(now));
            prop_assert!(used >= grants.younger(now, period), "S1");
            prop_assert!(used <= grants.younger(now, period / 50 * 51), "S2");
        }
    }

    /// A refund takes the newest grants back, and nothing else.
    #[test]
    fn refunds_newest_first(
        count in 1u64..=64,
        ms in period_ms(),
        start in start(),
        steps in steps(24),
        backs in prop::collection::vec(0u64..5, 24),
    ) {
        let mut limiter = CheckedLimiter::new(&format!("{count}/{ms}ms"));
        let period = ms * 1000;
        let mut grants = GrantLog::default();
        let mut now = start;
        for ((gap, part), back) in steps.into_iter().zip(backs) {
            now += gap.of(period);
            let cost = cost_of(part, count);
            if limiter.acquire(now, cost).is_granted() {
                grants.take(now, cost);
            }
            let expected = grants.give_back(now, period, back);
            let limits = limiter.limits.clone();
            prop_assert_eq!(refund(limits.as_slice(), &mut limiter.states, Micros(now), back), expected);
            refund(limits.as_slice(), &mut limiter.replica, Micros(now), back);
            prop_assert_eq!(limiter.used(0, now), grants.younger(now, period));
            limiter.check_full(now);
        }
    }
}

/// Memory is bounded whatever the count, and given back when all is free.
#[test]
fn never_more_than_64_slots() {
    for text in ["64/m", "65/m", "1000000/m", "1000000000000/366d", "63/ms"] {
        let mut limiter = CheckedLimiter::new(text);
        let period = limiter.limits.as_slice()[0].period_us().unwrap();
        let mut most = 0;
        for step in 0..1000 {
            limiter.acquire(1_800_000_000_000_000 + step * (period / 211 + 1), 1);
            most = most.max(limiter.states[0].heap_bytes());
        }
        assert!(most <= 64 * 8, "{text}: {most} bytes");
        touch(limiter.limits.as_slice(), &mut limiter.states, Micros(1 << 51));
        assert_eq!(limiter.states[0].heap_bytes(), 0);
        assert_eq!(limiter.states[0], State::Fresh);
    }
}

/// Debt on top of 64 separate grants stays within 64 slots, loses no unit and
/// frees none early.
#[test]
fn debt_fits_into_64_slots() {
    let mut limiter = CheckedLimiter::new("64/s");
    let limits = limiter.limits.clone();
    let limit = &limits.as_slice()[0];
    let begin = 1_800_000_000_000_000;
    for step in 0..64 {
        assert!(limiter.acquire(begin + step, 1).is_granted());
    }
    for step in 64..200 {
        let charged = charge(limit, &mut limiter.states[0], Micros(begin + step), 1);
        assert_eq!(charged, u64::from(step < 128));
        assert_eq!(limiter.used(0, begin + step), (step + 1).min(128));
        assert!(limiter.states[0].heap_bytes() <= 64 * 8);
        let mut bytes = Vec::new();
        limiter.states[0].write(&mut bytes);
        let again = State::read(&mut Reader::new(&bytes), limit.rule());
        assert_eq!(again.as_ref(), Ok(&limiter.states[0]));
    }
    for step in 0..128 {
        assert!(limiter.used(0, begin + step + 1_000_000 - 1) >= 128 - step);
    }
    assert_eq!(limiter.used(0, begin + 127 + 1_000_000), 0);
}
