//! Random histories of reservations against a model that keeps every grant and
//! every reservation as it was given, and counts again at each step.

use crate::checked_limiter::parse;
use crate::models::reservations::{
    NARROW, PERIOD, ReservationBounds, ReservationsModel, StandingReservation, WIDE,
};
use crate::support::EffectKey;
use floodgate::core::limits::{Request, decide};
use floodgate::core::reservations::{Book, Stage};
use floodgate::core::time::Micros;
use floodgate::server::main_thread::StandIn;
use floodgate::types::effect::ratelimit::{RateLimitChange, Renew, Reserve, Settle};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{RateLimit, hold};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Reserve { id: u8, cost: u64, ttl: u64, partial: bool },
    Commit { id: u8, actual: u64 },
    Release { id: u8 },
    Renew { id: u8, ttl: u64 },
    Advance(u64),
}

/// `reserved` is the weight of reservations among the steps. `far` lets time go far at once.
fn ops(ids: u8, most_cost: u64, reserved: u32, far: bool) -> impl Strategy<Value = Vec<Op>> {
    let id = 0..ids;
    // Times that meet each other: ends, windows and settlements at one moment.
    let time = || prop_oneof![(1..8u64).prop_map(|n| n * 250_000), 1..2_000_000u64];
    let op = prop_oneof![
        reserved => (id.clone(), 1..most_cost, time(), prop::bool::weighted(0.4))
            .prop_map(|(id, cost, ttl, partial)| Op::Reserve { id, cost, ttl, partial }),
        3 => (id.clone(), 0..50u64).prop_map(|(id, actual)| Op::Commit { id, actual }),
        1 => id.clone().prop_map(|id| Op::Release { id }),
        1 => (id, time()).prop_map(|(id, ttl)| Op::Renew { id, ttl }),
        4 => time().prop_map(move |us| Op::Advance(if far { us } else { us / 20 })),
    ];
    proptest::collection::vec(op, 1..if far { 60 } else { 120 })
}

/// How often a key came to hold many reservations, and how often it came to hold a few again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Crossings {
    to_many: u32,
    to_few: u32,
}

fn is_few(key: &EffectKey) -> bool {
    key.value.as_ref().and_then(RateLimit::book).is_none_or(Book::is_few)
}

fn history(bounds: &'static ReservationBounds, ops: &[Op]) -> Crossings {
    let stand_in = StandIn::enter();
    let main = stand_in.main();
    let limits = parse(bounds.limits);
    let rules = limits.as_slice();
    let mut key = EffectKey::without_expiry(main);
    let states = |key: &EffectKey, now: u64, next: u64, request: &Request| {
        let mut states = key.taken_over_by(&limits, now);
        hold(main, key.value.as_ref(), rules, &mut states, Micros(now), Micros(next), request);
        states
    };
    let mut model = ReservationsModel::new(bounds);
    let (mut few, mut crossed) = (true, Crossings::default());
    let mut now = 1_800_000_000_000_000;
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Advance(us) => now += us,
            Op::Reserve { id, .. } if model.open(id, now) => {
                assert_eq!(key.stage(id, now), Some(Stage::Open));
            }
            Op::Reserve { id, cost, ttl, partial } => {
                let request = Request { partial, ..Request::of(cost) };
                let states = states(&key, now, now + ttl, &request);
                let decision = decide(rules, &states, Micros(now), &request);
                let least = if partial { 1 } else { cost };
                let granted = (least..=cost).rev().find(|&cost| model.fits(cost, now)).unwrap_or(0);
                assert_eq!(decision.granted, granted, "step {step}");
                if granted > 0 {
                    let cost = granted;
                    model.status.retain(|one| one.id != id);
                    model.status.push(StandingReservation { id, cost, granted: now, end: now + ttl });
                    model.grants.take(now, cost);
                    let (taken, end) = (decision.taken, Micros(now + ttl));
                    let change = RateLimitChange::Reserve(Reserve {
                        limits: Some(bounds.limits),
                        taken,
                        id: &[id],
                        cost,
                        end,
                    });
                    key.apply(now, change);
                }
            }
            Op::Commit { id, .. } | Op::Release { id } => {
                let stage = model.stage(id, now);
                assert_eq!(key.stage(id, now), stage, "step {step}");
                if stage.is_some() {
                    let actual = if let Op::Commit { actual, .. } = *op { Some(actual) } else { None };
                    model.settle(id, actual, now);
                    let how = actual.map_or(Settlement::Release, Settlement::At);
                    key.apply(now, RateLimitChange::Settle(Settle { id: &[id], how }));
                }
            }
            Op::Renew { id, ttl } => {
                if model.open(id, now) {
                    let one = model.status.iter_mut().find(|one| one.id == id).expect("it is open");
                    one.end = now + ttl;
                    let change = RateLimitChange::Renew(Renew { id: &[id], end: Micros(now + ttl) });
                    key.apply(now, change);
                }
            }
        }
        crossed.to_many += u32::from(few && !is_few(&key));
        crossed.to_few += u32::from(!few && is_few(&key));
        if step % 7 == 0 {
            key.reload();
        }
        few = is_few(&key);
        let cost = step as u64 % bounds.weight + 1;
        let states = states(&key, now, now, &Request::of(cost));
        let used: Vec<u64> =
            rules.iter().zip(&states).map(|(rule, state)| rule.rule().used(state, Micros(now))).collect();
        assert_eq!(used, [model.used(now), model.held(now) as u64, model.weight(now)], "step {step}");
        // When the next place is free, and when so many units are, if nobody does anything.
        let mut ends: Vec<u64> = model.status.iter().map(|one| one.end.max(now)).chain([now]).collect();
        ends.sort_unstable();
        let at = ends.iter().copied().find(|&at| model.held(at) < bounds.places);
        let free = rules[1].rule().falls_to(&states[1], Micros(now), bounds.places as u64 - 1);
        assert_eq!(Some(free.0), at, "step {step}");
        let at = ends.iter().copied().find(|&at| model.weight(at) + cost <= bounds.weight);
        let free = rules[2].rule().falls_to(&states[2], Micros(now), bounds.weight - cost);
        assert_eq!(Some(free.0), at, "step {step}");
    }
    crossed
}

proptest! {
    #![proptest_config(crate::checked_limiter::cases())]

    #[test]
    fn usage_places_and_stages_are_those_of_the_model(ops in ops(8, 12, 4, true)) {
        history(&NARROW, &ops);
    }

    #[test]
    fn many_at_a_time_are_those_of_the_model(ops in ops(20, 4, 9, false)) {
        history(&WIDE, &ops);
    }
}

/// A key comes to hold many reservations and holds a few again, three times: by settlements and by
/// time.
#[test]
fn few_and_many_are_those_of_the_model() {
    let mut ops = Vec::new();
    for turn in 0..3 {
        for id in 0..13 {
            ops.push(Op::Reserve { id, cost: 1 + u64::from(id % 3), ttl: 600_000, partial: false });
            ops.push(Op::Advance(1_000));
        }
        ops.push(Op::Renew { id: 4, ttl: 900_000 });
        match turn {
            0 => ops.extend((0..13).map(|n| Op::Release { id: n * 5 % 13 })),
            1 => ops.extend((0..13).rev().map(|id| Op::Commit { id, actual: u64::from(id % 4) })),
            _ => ops.extend([Op::Advance(600_000), Op::Advance(2_000_000), Op::Commit { id: 4, actual: 1 }]),
        }
        ops.push(Op::Advance(2 * PERIOD));
    }
    ops.extend((0..3).map(|id| Op::Reserve { id, cost: 1, ttl: 1, partial: false }));
    assert_eq!(history(&WIDE, &ops), Crossings { to_many: 3, to_few: 3 });
}
