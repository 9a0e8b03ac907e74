//! `CL.THROTTLE` against redis-cell's formulas and its measured replies.

use crate::checked_limiter::{CheckedLimiter, cases, refund};
use crate::models::throttle::{CellKey, CellRate};
use floodgate::core::limits::{
    Limit, Limits, ResetAfter, SecondsRounding, State, Taken, Throttle, ThrottleError, ThrottlePeriod,
    ThrottleReply, full_at, limit_quota, take,
};
use floodgate::core::time::Micros;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000_123_456;

fn numbers(answer: ThrottleReply) -> [i64; 5] {
    [i64::from(answer.limited), answer.limit, answer.remaining, answer.retry_after_s, answer.reset_after_s]
}

fn ask(rule: Throttle, state: &mut State, now: u64, quantity: u64) -> ThrottleReply {
    let answer = rule.ask(&state.arrival(), Micros(now), quantity, SecondsRounding::Cell);
    if !answer.limited && quantity > 0 {
        let limit = Limit::throttle(rule);
        take(std::slice::from_ref(&limit), std::slice::from_mut(state), Micros(now), &Taken::new([quantity]));
    }
    answer
}

proptest! {
    #![proptest_config(cases())]

    /// Arguments change from call to call, as redis-cell lets them.
    #[test]
    fn answers_as_redis_cell(
        calls in prop::collection::vec((
            prop_oneof![Just(0u64), 0u64..5_000_000, 0u64..200_000_000],
            prop_oneof![3 => Just((4i64, 1i64, 60i64)), 3 => (0i64..20, 1i64..50, 1i64..100), 1 => (0i64..1000, 1i64..1_000_000, 1i64..86_400)],
            0u64..8,
        ), 1..24),
    ) {
        let mut state = State::Fresh;
        let mut cell = CellKey::default();
        let mut now = NOW;
        for (gap, (burst, count, period), quantity) in calls {
            now += gap;
            let rule = Throttle::new(burst, count, period).unwrap();
            let [burst, count, period] = [burst, count, period].map(i64::cast_unsigned);
            let expected = cell.ask(now, CellRate { burst, count, period }, quantity);
            prop_assert_eq!(numbers(ask(rule, &mut state, now, quantity)), expected);
        }
    }

    /// What remains is there, and one more is not; who is denied is never told to
    /// come back at once.
    #[test]
    fn what_remains_is_there(
        burst in 0i64..20_000,
        count in prop_oneof![1i64..100, 1i64..1_000_000_000],
        period in prop_oneof![Just(1i64), 1i64..10_000],
        gaps in prop::collection::vec((prop_oneof![Just(0u64), 0u64..3_000_000], 0u64..20_000), 1..12),
    ) {
        let rule = Throttle::new(burst, count, period).unwrap();
        let (mut state, mut now) = (State::Fresh, NOW);
        for (gap, quantity) in gaps {
            now += gap;
            let answer = ask(rule, &mut state, now, quantity);
            prop_assert!(answer.remaining <= answer.limit);
            prop_assert!(!answer.limited || answer.retry_after_s != 0, "{:?}", answer);
            let left = u64::try_from(answer.remaining).unwrap();
            prop_assert!(!rule.ask(&state.arrival(), Micros(now), left, SecondsRounding::Cell).limited);
            prop_assert!(rule.ask(&state.arrival(), Micros(now), left + 1, SecondsRounding::Cell).limited);
        }
    }

    #[test]
    fn never_wraps(burst in 0..=i64::MAX, count in 1..=i64::MAX, period in 1..=i64::MAX, quantity in 0..=i64::MAX as u64, calls in 1usize..4) {
        let Ok(rule) = Throttle::new(burst, count, period) else { return Ok(()) };
        let mut state = State::Fresh;
        for _ in 0..calls {
            let answer = ask(rule, &mut state, NOW, quantity);
            prop_assert!(answer.remaining >= 0 && answer.reset_after_s >= 0 && answer.retry_after_s >= -1);
            prop_assert_eq!(answer.limit, burst.saturating_add(1));
        }
        let limit = Limit::throttle(rule);
        limit_quota(&limit, &state, Micros(NOW), 1);
        let parsed = Limits::parse_stored(limit.canonical().as_bytes()).unwrap();
        prop_assert_eq!(&parsed.as_slice()[0], &limit);
    }

    /// A clock that goes back leaves the wait as it was.
    #[test]
    fn clock_steps(steps in prop::collection::vec(-400_000_000i64..400_000_000, 1..16)) {
        let rule = Throttle::new(4, 1, 60).unwrap();
        let limit = [Limit::throttle(rule)];
        let mut state = State::Fresh;
        let mut now = NOW;
        for step in steps {
            now = now.saturating_add_signed(step);
            let answer = ask(rule, &mut state, now, 1);
            prop_assert!(answer.reset_after_s <= 300);
            // Nothing is in use from when it is full, and something until then.
            let full = full_at(&limit, std::slice::from_ref(&state), Micros(now)).0;
            prop_assert!(full > now);
            prop_assert_eq!(ask(rule, &mut state.clone(), full, 0).reset_after_s, 0);
            prop_assert_eq!(ask(rule, &mut state.clone(), full - 1_000_000, 0).reset_after_s, 1);
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    /// A period of GCRA is what its digits say, however they are written.
    #[test]
    fn periods_are_read_to_the_nanosecond(seconds in 0u64..1 << 40, nanos in 0u32..1_000_000_000, shift in 0i32..30) {
        let decimal = format!("{seconds}.{nanos:09}");
        let Some(period) = ThrottlePeriod::parse(decimal.as_bytes()) else {
            prop_assert_eq!((seconds, nanos), (0, 0));
            return Ok(());
        };
        // As programs print it: without zeros behind, or with an exponent.
        let shown = period.to_string();
        prop_assert_eq!(&shown, decimal.trim_end_matches('0').trim_end_matches('.'));
        prop_assert_eq!(ThrottlePeriod::parse(shown.as_bytes()), Some(period));
        let digits = format!("{seconds}{nanos:09}{}", "0".repeat(usize::try_from(shift).unwrap()));
        let moved = format!("{digits}e{}", -9 - shift);
        prop_assert_eq!(ThrottlePeriod::parse(moved.as_bytes()), Some(period));
        // A limit with it is written and read.
        let Ok(rule) = Throttle::over(3, 7, period) else { return Ok(()) };
        let limit = Limit::throttle(rule);
        let parsed = Limits::parse_stored(limit.canonical().as_bytes()).unwrap();
        prop_assert_eq!(&parsed.as_slice()[0], &limit);
    }

    /// GCRA grants what the textbook grants, in nanoseconds: the burst and one more, and
    /// then one each interval. Its seconds are those of the wait, rounded up.
    #[test]
    fn gcra_is_the_textbooks(
        burst in 0i64..6,
        count in 1i64..9,
        period_ms in 1u64..3_000,
        calls in prop::collection::vec((prop_oneof![Just(0u64), 0u64..800_000], 1u64..4), 1..24),
    ) {
        let period = ThrottlePeriod::parse(format!("{period_ms}e-3").as_bytes()).unwrap();
        let rule = Throttle::over(burst, count, period).unwrap();
        let interval = i128::from(period_ms) * 1_000_000 / i128::from(count);
        let most = interval * i128::from(burst + 1);
        let (mut state, mut now, mut full_at) = (State::Fresh, NOW, 0i128);
        for (gap, quantity) in calls {
            now += gap;
            let at = i128::from(now) * 1000;
            let wait = (full_at - at).max(0);
            let after = wait + interval * i128::from(quantity);
            let answer = rule.ask(&state.arrival(), Micros(now), quantity, SecondsRounding::Up);
            prop_assert_eq!(answer.limited, after > most);
            let left = if answer.limited { wait } else { after };
            prop_assert_eq!(i128::from(answer.reset_after_s), (left + 999_999_999) / 1_000_000_000);
            prop_assert_eq!(i128::from(answer.remaining), (most - left) / interval);
            let retry = if answer.limited && i128::from(quantity) <= i128::from(burst) + 1 {
                (after - most + 999_999_999) / 1_000_000_000
            } else {
                -1
            };
            prop_assert_eq!(i128::from(answer.retry_after_s), retry);
            if !answer.limited {
                full_at = at + after;
                let limit = [Limit::throttle(rule)];
                take(&limit, std::slice::from_mut(&mut state), Micros(now), &Taken::new([quantity]));
            }
        }
    }
}

#[test]
fn rates_that_are_no_whole_microseconds() {
    // 166 666 ns a unit: redis-cell tells of 6024.
    let rule = Throttle::new(6000, 6000, 1).unwrap();
    assert_eq!(numbers(ask(rule, &mut State::Fresh, NOW, 1))[..3], [0, 6001, 6000]);
    // 125 000 ns a unit: the third is denied for less than a millisecond.
    let rule = Throttle::new(1, 8000, 1).unwrap();
    let mut state = State::Fresh;
    for _ in 0..2 {
        assert!(!ask(rule, &mut state, NOW, 1).limited);
    }
    assert_eq!(numbers(ask(rule, &mut state, NOW, 1)), [1, 2, 0, 1, 0]);
}

#[test]
fn measured_replies() {
    let rule = Throttle::new(4, 1, 60).unwrap();
    let mut state = State::Fresh;
    let mut reply = |quantity| numbers(ask(rule, &mut state, NOW, quantity));
    assert_eq!(reply(6), [1, 5, 5, -1, 0]);
    assert_eq!(reply(0), [0, 5, 5, -1, 0]);
    assert_eq!(reply(1), [0, 5, 4, -1, 60]);
    for _ in 0..3 {
        reply(1);
    }
    assert_eq!(reply(1), [0, 5, 0, -1, 300]);
    assert_eq!(reply(1), [1, 5, 0, 60, 300]);
    assert_eq!(reply(0), [0, 5, 0, -1, 300]);
    assert_eq!(reply(5), [1, 5, 0, 300, 300]);
    assert_eq!(reply(6), [1, 5, 0, -1, 300]);
    let limit = Limit::throttle(rule);
    assert_eq!(
        (limit.algorithm_name(), limit.capacity(), limit.label().as_ref()),
        ("throttle", Some(5), "throttle:4/1/60")
    );
    let seen = limit_quota(&limit, &state, Micros(NOW), 1);
    assert_eq!((seen.used, seen.remaining, seen.reset), (5, Some(0), ResetAfter::Us(300_000_000)));
    assert_eq!(refund(std::slice::from_ref(&limit), std::slice::from_mut(&mut state), Micros(NOW), 2), 2);
    assert_eq!(
        numbers(rule.ask(&state.arrival(), Micros(NOW), 0, SecondsRounding::Cell)),
        [0, 5, 2, -1, 180]
    );
}

#[test]
fn refuses_what_makes_no_rate() {
    assert_eq!(Throttle::new(-1, 1, 1), Err(ThrottleError::Burst));
    assert_eq!(Throttle::new(0, 0, 1), Err(ThrottleError::Count));
    assert_eq!(Throttle::new(0, 1, -1), Err(ThrottleError::Period));
    assert_eq!(Throttle::new(0, i64::MAX, 1), Err(ThrottleError::TooFast));
}

#[test]
fn adopts_an_arrival_time() {
    use floodgate::core::limits::throttle::Arrival;
    assert_eq!(State::of_arrival(Arrival::adopt(NOW * 1000, Micros(NOW))), State::Fresh);
    let state = State::of_arrival(Arrival::adopt(NOW * 1000 + 120_000_000_000, Micros(NOW)));
    let rule = Throttle::new(4, 1, 60).unwrap();
    assert_eq!(
        numbers(rule.ask(&state.arrival(), Micros(NOW), 0, SecondsRounding::Cell)),
        [0, 5, 3, -1, 120]
    );
    assert!(CheckedLimiter::new("5/s").limits.as_slice()[0] != Limit::throttle(rule));
}
