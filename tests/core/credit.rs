//! A credit (`fixed:N/ever`) against a row of units that each know their owner, and a
//! list of reservations. Nothing in the model comes back by time.

use crate::checked_limiter::{CheckedLimiter, cases, parse, start};
use crate::models::credit::{CreditModel, Listed, Reserved, credit};
use crate::support::EffectKey;
use crate::support::{look_at, realign};
use floodgate::core::limits::{Limits, Request, ResetAfter, State, decide, limit_quota, take, touch};
use floodgate::core::reservations::Stage;
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use floodgate::server::main_thread::StandIn;
use floodgate::types::effect::ratelimit::{GiveBack, RateLimitChange, Renew, Reserve, Settle, TakeUnits};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::until::Until;
use proptest::prelude::*;

const START: u64 = 1_800_000_000_000_777;
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Of the limit beside the credit, which never denies here.
const BESIDE_LASTS: u64 = SECOND;

#[derive(Clone, Debug)]
enum Op {
    Acquire { cost: u64, count: u64, listed: Listed },
    Reserve { id: u8, cost: u64, count: u64, listed: Listed, ttl: u64 },
    Settle { id: u8, actual: u64 },
    Renew { id: u8, ttl: u64 },
    Refund(u64),
    Reset,
    Advance(u64),
    Reload,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // A larger count tops up, a smaller one leaves a debt.
    let count = || prop::sample::select(vec![20u64, 30, 30, 45, 10]);
    let listed = || prop::sample::select(vec![Listed::Credit, Listed::Credit, Listed::Both, Listed::Beside]);
    let ttl = || prop::sample::select(vec![1u64, SECOND, 7 * SECOND, DAY - 1, DAY]);
    let time = prop_oneof![
        4 => 1..3 * SECOND,
        2 => prop::sample::select(vec![SECOND, DAY - 1, DAY, DAY + 1, 7 * SECOND]),
        1 => 0..400 * DAY,
    ];
    let op = prop_oneof![
        5 => (1..12u64, count(), listed()).prop_map(|(cost, count, listed)| Op::Acquire { cost, count, listed }),
        5 => (0..5u8, 1..12u64, count(), listed(), ttl())
            .prop_map(|(id, cost, count, listed, ttl)| Op::Reserve { id, cost, count, listed, ttl }),
        4 => (0..5u8, prop_oneof![2 => Just(0), 2 => 1..12u64, 1 => 12..70u64])
            .prop_map(|(id, actual)| Op::Settle { id, actual }),
        1 => (0..5u8, ttl()).prop_map(|(id, ttl)| Op::Renew { id, ttl }),
        1 => (1..60u64).prop_map(Op::Refund),
        1 => Just(Op::Reset),
        4 => time.prop_map(Op::Advance),
        1 => Just(Op::Reload),
    ];
    prop::collection::vec(op, 1..60)
}

/// Whether a call of so many units fits, asked of both.
fn fits(key: &EffectKey, model: &CreditModel, listed: Listed, count: u64, cost: u64) -> bool {
    let limits = parse(&listed.text(count));
    let decision =
        decide(limits.as_slice(), &key.seen_by(&limits, model.now), Micros(model.now), &Request::of(cost));
    let expected = listed == Listed::Beside || model.used() + cost <= count;
    assert_eq!(decision.is_granted(), expected, "{listed:?}");
    if !expected {
        assert_eq!(decision.status.retry, RetryAfter::Never);
    }
    if listed == Listed::Credit || !expected {
        let after = model.used() + if expected { cost } else { 0 };
        assert_eq!(decision.status.remaining, Some(count.saturating_sub(after)));
        assert_eq!(decision.status.reset, ResetAfter::Never);
    }
    expected
}

fn check(key: &EffectKey, model: &CreditModel) {
    let limits = parse(&credit(model.count));
    for later in [0, SECOND, DAY, 3_000 * DAY] {
        let then = Micros(model.now + later);
        let states = key.seen_by(&limits, then.0);
        let seen = limit_quota(&limits.as_slice()[0], &states[0], then, 1);
        assert_eq!(seen.used, model.used());
        let left = model.used() < model.count;
        assert_eq!(seen.retry, if left { RetryAfter::Now } else { RetryAfter::Never });
    }
    for id in 0..5 {
        assert_eq!(key.stage(id, model.now), model.stage(id), "reservation {id}");
    }
    match key.until {
        Some(Until::Forever) => assert!(model.used() > 0),
        Some(Until::At(end)) => {
            assert_eq!(model.used(), 0);
            assert!(model.reserved.iter().all(|one| one.forgotten_at() <= end.0));
        }
        None => assert!(model.used() == 0 && model.reserved.is_empty()),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn it_counts_what_the_row_counts(ops in ops()) {
        let stand_in = StandIn::enter();
        let mut key = EffectKey::new(stand_in.main());
        let mut model = CreditModel { now: START, count: 30, ..CreditModel::default() };
        let mut last_listed = None;
        for op in ops {
            let now = model.now;
            match op {
                Op::Acquire { cost, count, listed } => {
                    if fits(&key, &model, listed, count, cost) {
                        let text = listed.text(count);
                        key.apply(now, RateLimitChange::Take(TakeUnits { limits: Some(&text), taken: listed.units(cost) }));
                        last_listed = Some(listed);
                        model.list(listed, count);
                        if listed != Listed::Beside {
                            model.grant(None, cost);
                        }
                    }
                }
                Op::Reserve { id, cost, count, listed, ttl } => {
                    if model.stage(id).is_none() && fits(&key, &model, listed, count, cost) {
                        let (text, end) = (listed.text(count), now + ttl);
                        let (limits, taken) = (Some(text.as_str()), listed.units(cost));
                        key.apply(now, RateLimitChange::Reserve(Reserve { limits, taken, id: &[id], cost, end: Micros(end) }));
                        last_listed = Some(listed);
                        let charged = listed != Listed::Beside;
                        let beside_until = if listed == Listed::Credit { 0 } else { now + BESIDE_LASTS };
                        model.list(listed, count);
                        if charged {
                            model.grant(Some(id), cost);
                        }
                        model.reserved.push(Reserved { id, cost, count, end, charged, beside_until });
                    }
                }
                Op::Settle { id, actual } => {
                    let how = if actual == 0 { Settlement::Release } else { Settlement::At(actual) };
                    if model.stage(id).is_some() {
                        key.apply(now, RateLimitChange::Settle(Settle { id: &[id], how }));
                        model.settle(id, actual);
                    }
                }
                Op::Renew { id, ttl } => {
                    if model.stage(id) == Some(Stage::Open) {
                        key.apply(now, RateLimitChange::Renew(Renew { id: &[id], end: Micros(now + ttl) }));
                        model.reserved.iter_mut().filter(|one| one.id == id).for_each(|one| one.end = now + ttl);
                    }
                }
                Op::Refund(units) => {
                    // On the limits of the last grant, or where the credit is not among
                    // them on it alone.
                    let text = credit(model.count);
                    let limits = (last_listed == Some(Listed::Beside)).then_some(text.as_str());
                    key.apply(now, RateLimitChange::GiveBack(GiveBack { limits, units, calls: 1 }));
                    model.units.truncate(model.units.len().saturating_sub(units as usize));
                }
                Op::Reset => {
                    key.apply(now, RateLimitChange::Reset);
                    model.units.clear();
                    model.reserved.clear();
                }
                Op::Advance(us) => model.now += us,
                Op::Reload => key.reload(),
            }
            key.expire(model.now);
            model.forget();
            check(&key, &model);
        }
    }

    /// C1: a clock that steps changes nothing that anybody sees.
    #[test]
    fn no_clock_frees_or_takes_anything(
        count in 1u64..60,
        start in start(),
        steps in prop::collection::vec((-3_000i64..3_000, any::<bool>(), 1u64..9), 1..24),
    ) {
        let mut limiter = CheckedLimiter::new(&credit(count));
        let (mut now, mut used) = (start as i64, 0);
        for (step, near, cost) in steps {
            now = (now + if near { step } else { step * DAY as i64 }).clamp(0, 1 << 51);
            let at = now as u64;
            let reply = limiter.acquire(at, cost);
            let granted = reply.is_granted();
            prop_assert_eq!(granted, used + cost <= count);
            used += if granted { cost } else { 0 };
            prop_assert_eq!(limiter.used(0, at), used);
            prop_assert!(!limiter.would(at, &Request::of(1)).record_clock);
            prop_assert_eq!(limiter.full_at(at), if used > 0 { Micros::NEVER.0 } else { at });
            limiter.check_reply(at, &Request::of(cost), &reply);
        }
    }

    /// One name that is a credit and a window by turns: a window has the units of the
    /// credit if any may have been granted in it, a credit those in use.
    #[test]
    fn a_name_that_becomes_a_credit_and_back(
        turns in prop::collection::vec((0u64..30_000, 0usize..4, 1u64..6), 1..24),
        back in prop::option::of(1u64..60_000),
    ) {
        const VERSIONS: &[(&str, Option<u64>)] = &[
            ("fixed:20/ever:name=x", None),
            ("fixed:30/ever:name=x", None),
            ("fixed:9/10ms:name=x", Some(10_000)),
            ("fixed:9/45ms:name=x", Some(45_000)),
        ];
        let mut limits = parse(VERSIONS[0].0);
        let mut states = vec![State::Fresh];
        // What the key still knows: units, and when the last was granted; under a window
        // only that it was in this one.
        let (mut known, mut last, mut window) = (0u64, 0u64, None::<(u64, u64)>);
        let mut now = START;
        for (gap, version, cost) in turns {
            now += gap;
            let (text, period) = VERSIONS[version];
            limits_become(&mut limits, &mut states, text, now);
            let of = |period: u64, at: u64| (at / period * period, at / period * period + period);
            let counted = match (window, period) {
                // In use, whatever comes.
                (None, None) => known,
                // Granted in the window of now, perhaps all by the last grant.
                (None, Some(period)) => if of(period, last) == of(period, now) { known } else { 0 },
                // In use until their window ends.
                (Some((_, end)), _) => if now < end { known } else { 0 },
            };
            prop_assert_eq!(limits.as_slice()[0].rule().used(&states[0], Micros(now)), counted);
            known = counted;
            let decision = decide(limits.as_slice(), &states, Micros(now), &Request::of(cost));
            if decision.is_granted() {
                take(limits.as_slice(), &mut states, Micros(now), &decision.taken);
                known += cost;
                last = now;
            } else if window.is_some() {
                // Taken over as of now.
                last = now;
            }
            window = period.map(|period| of(period, now));
        }
        // A clock that stepped back: what was granted later counts as granted now.
        if let Some(back) = back {
            let at = now - back;
            touch(limits.as_slice(), &mut states, Micros(at));
            let used = limits.as_slice()[0].rule().used(&states[0], Micros(at));
            limits_become(&mut limits, &mut states, "fixed:99/366d:name=x", at);
            prop_assert_eq!(limits.as_slice()[0].rule().used(&states[0], Micros(at)), used);
            limits_become(&mut limits, &mut states, "fixed:99/ever:name=x", at);
            prop_assert_eq!(limits.as_slice()[0].rule().used(&states[0], Micros(at)), used);
        }
    }
}

fn limits_become(limits: &mut Limits, states: &mut Vec<State>, text: &str, now: u64) {
    let new = parse(text);
    let moved = realign(limits.as_slice(), std::mem::take(states), Vec::new(), new.as_slice(), Micros(now));
    (*limits, *states) = (new, moved.states);
}

#[test]
fn a_credit_is_written_and_known_as_one() {
    for (text, canonical) in [
        ("fixed:5000/ever", "fixed:5000/ever"),
        ("FIXED:5000/1Ever", "fixed:5000/ever"),
        ("fixed:0/ever", "fixed:0/ever"),
    ] {
        assert_eq!(parse(text).canonical(), canonical);
        assert_eq!(Limits::parse(canonical.as_bytes()).unwrap(), parse(text));
    }
    let limits = parse("fixed:5/ever,fixed:5/366d,fixed:9/ever:per=call,fixed:7/ever:shadow");
    let [credit, year, calls, shadow] = limits.as_slice() else { unreachable!() };
    assert_eq!((credit.period_us(), credit.refill_us(), credit.comes_back()), (None, None, false));
    assert!(year.comes_back());
    let other = parse("fixed:6/ever");
    let other = &other.as_slice()[0];
    assert!(credit.same_identity(other) && credit.identity_hash() == other.identity_hash());
    assert!(![year, calls, shadow].iter().any(|limit| limit.same_identity(other)));
}

/// C1 for a name that becomes a window: what was granted later than now counts as granted
/// now, and not anew each day until the clock comes forward again.
#[test]
fn a_grant_of_the_future_counts_as_one_of_today() {
    let mut limiter = CheckedLimiter::new("fixed:5/ever:name=x");
    assert!(limiter.acquire(START + 400 * DAY, 5).is_granted());
    assert!(limiter.would(START, &Request::of(1)).record_clock);
    assert!(!limiter.acquire(START, 1).is_granted());
    let daily = parse("fixed:5/d:name=x");
    let used = |at: u64| {
        let seen = look_at(limiter.limits.as_slice(), &limiter.states, &[], daily.as_slice(), Micros(at));
        daily.as_slice()[0].rule().used(&seen[0], Micros(at))
    };
    assert_eq!((used(START), used(START + DAY), used(START + 400 * DAY)), (5, 0, 0));
}

/// Its units never come back by themselves, so a denial for want of them closes nothing.
#[test]
fn want_of_a_credit_closes_nothing() {
    let mut limiter = CheckedLimiter::new("fixed:2/ever:block=15m");
    assert!(limiter.acquire(START, 2).is_granted());
    let denied = limiter.acquire(START + 1, 1);
    assert!(denied.closes.is_empty());
    assert_eq!((denied.status.retry, denied.status.remaining), (RetryAfter::Never, Some(0)));
}
