//! Buckets against tokens counted in fractions, and against the closed formula.

use crate::checked_limiter::{CheckedLimiter, cases, cost_of, count, gap, period_ms, refund, start, steps};
use crate::models::bucket::FractionBucket;
use floodgate::core::limits::{Request, charge};
use floodgate::core::time::Micros;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn counts_as_fractions_do(
        count in count(),
        burst in count(),
        ms in period_ms(),
        start in start(),
        steps in steps(24),
        backs in prop::collection::vec(prop_oneof![3 => Just(0u64), 1 => 1u64..5], 24),
    ) {
        let mut limiter = CheckedLimiter::new(&format!("bucket:{count}/{ms}ms:burst={burst}"));
        let period = ms * 1000;
        let mut tokens = FractionBucket::new(count, period, burst, start);
        let mut now = start;
        // Gaps around the time that one unit and a whole bucket take.
        let unit_us = (period / count).max(1);
        for ((gap, part), back) in steps.into_iter().zip(backs) {
            now += if part % 2 == 0 { gap.of(period) } else { gap.of(unit_us.max(1000)) };
            if now > 1 << 51 {
                break;
            }
            tokens.advance(now);
            let cost = cost_of(part, burst);
            let reply = limiter.acquire(now, cost);
            prop_assert_eq!(reply.is_granted(), tokens.take(cost));
            prop_assert_eq!(reply.status.remaining, Some(tokens.left()));
            limiter.check_reply(now, &Request::of(cost), &reply);
            limiter.check_full(now);
            let used = burst - tokens.left();
            let limits = limiter.limits.clone();
            let given = refund(limits.as_slice(), &mut limiter.states, Micros(now), back);
            refund(limits.as_slice(), &mut limiter.replica, Micros(now), back);
            prop_assert_eq!(given, back.min(used));
            tokens.give_back(back);
        }
    }

    /// Debt is one bucket at most, and no less, whatever part of a unit has come back.
    #[test]
    fn debt_is_cut_to_one_bucket(
        count in count(),
        burst in count(),
        ms in period_ms(),
        start in start(),
        steps in steps(24),
    ) {
        let mut limiter = CheckedLimiter::new(&format!("bucket:{count}/{ms}ms:burst={burst}"));
        let limits = limiter.limits.clone();
        let limit = &limits.as_slice()[0];
        let period = ms * 1000;
        let mut tokens = FractionBucket::new(count, period, burst, start);
        let mut now = start;
        let unit_us = (period / count).max(1);
        for (gap, part) in steps {
            now += if part % 2 == 0 { gap.of(period) } else { gap.of(unit_us.max(1000)) };
            if now > 1 << 51 {
                break;
            }
            tokens.advance(now);
            let cost = cost_of(part, burst) * (1 + u64::from(part) % 3);
            let before = tokens.missing();
            let charged = charge(limit, &mut limiter.states[0], Micros(now), cost);
            tokens.charge(cost);
            prop_assert_eq!(limit.rule().used(&limiter.states[0], Micros(now)), tokens.missing());
            prop_assert!(charged <= cost && charged >= tokens.missing() - before);
            limiter.check_full(now);
        }
    }

    /// B1: whoever asks eagerly gets burst + floor(count * elapsed / period).
    #[test]
    fn eager_runs_are_exact(
        count in count(),
        burst in count(),
        ms in period_ms(),
        start in start(),
        gaps in prop::collection::vec(gap(), 1..24),
    ) {
        let mut limiter = CheckedLimiter::new(&format!("bucket:{count}/{ms}ms:burst={burst}"));
        let period = ms * 1000;
        let greedy = Request { cost: burst, calls: 1, partial: true, critical: false };
        let mut granted = u128::from(limiter.ask(start, &greedy).granted);
        prop_assert_eq!(granted, u128::from(burst));
        // Never so long that the bucket could run over between two requests.
        let fill = (u128::from(burst - 1) * u128::from(period) / u128::from(count)).min(1 << 45) as u64;
        let mut now = start;
        for gap in gaps {
            now += gap.of(period).min(fill);
            granted += u128::from(limiter.ask(now, &greedy).granted);
            let elapsed = u128::from(now - start);
            prop_assert_eq!(granted, u128::from(burst) + u128::from(count) * elapsed / u128::from(period));
        }
    }
}

/// The whole state is one number below 2^92, and comes back from it.
#[test]
fn packs_into_a_number() {
    use floodgate::core::limits::State;
    use floodgate::core::limits::bucket::Level;
    let mut limiter = CheckedLimiter::new("bucket:1000000000000/366d:burst=1000000000000");
    assert!(limiter.acquire(Micros::MAX.0, 1_000_000_000_000).is_granted());
    let State::Bucket(level) = &limiter.states[0] else { panic!("no bucket") };
    let bits = level.bits().unwrap();
    assert!(bits < 1 << Level::BITS);
    assert_eq!(Level::from_bits(bits), *level);
}
