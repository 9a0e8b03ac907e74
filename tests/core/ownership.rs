//! Whose units are whose, against rows of units that each know their owner.

use crate::checked_limiter::parse;
use crate::models::ownership::{Algorithm, PERIOD, UnitRow, even};
use crate::support::EffectKey;
use floodgate::core::limits::{Request, decide};
use floodgate::core::reservations::Stage;
use floodgate::core::time::Micros;
use floodgate::server::main_thread::StandIn;
use floodgate::types::effect::ratelimit::{GiveBack, RateLimitChange};
use proptest::prelude::*;
use proptest::sample::Index;

const START: u64 = 1_800_000_000_000_000;
/// Longer than anything is remembered, so that nothing ends by itself here.
const TTL: u64 = 3_600_000_000;

fn is_open(key: &EffectKey, id: u8, now: u64) -> bool {
    key.stage(id, now) == Some(Stage::Open)
}

#[derive(Clone, Debug)]
enum Op {
    Acquire { cost: u64, count: u64 },
    Reserve { id: u8, cost: u64, count: u64 },
    Settle { id: u8, actual: u64 },
    Refund(u64),
    Advance(u64),
    Reload,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let count = || prop::sample::select(vec![20u64, 30, 30, 30, 10]);
    // A few, and at times more than a row of a few has room for.
    let id = || prop_oneof![2 => 0..6u8, 1 => 0..16u8];
    let time = prop_oneof![
        3 => (1..6u64).prop_map(|n| n * 250_000),
        3 => 1..600_000u64,
        1 => Just(PERIOD - 1),
        1 => Just(2 * PERIOD),
    ];
    let op = prop_oneof![
        4 => (1..12u64, count()).prop_map(|(cost, count)| Op::Acquire { cost, count }),
        4 => (id(), 1..12u64, count()).prop_map(|(id, cost, count)| Op::Reserve { id, cost, count }),
        4 => (id(), prop_oneof![2 => Just(0), 2 => 1..12u64, 1 => 12..50u64])
            .prop_map(|(id, actual)| Op::Settle { id, actual }),
        1 => (1..14u64).prop_map(Op::Refund),
        4 => time.prop_map(Op::Advance),
        1 => Just(Op::Reload),
    ];
    prop::collection::vec(op, 1..60)
}

fn history(algorithm: Algorithm, ops: &[Op]) {
    let stand_in = StandIn::enter();
    let mut key = EffectKey::new(stand_in.main());
    let mut row = UnitRow { algorithm, count: 30, now: START, units: Vec::new() };
    let mut open: Vec<(u8, u64)> = Vec::new();
    for (step, op) in ops.iter().enumerate() {
        let now = row.now;
        let fits = |key: &EffectKey, row: &UnitRow, cost: u64, count: u64| {
            let limits = parse(&algorithm.text(count));
            let states = key.taken_over_by(&limits, now);
            let decision = decide(limits.as_slice(), &states, Micros(now), &Request::of(cost));
            assert_eq!(decision.is_granted(), row.used() + cost <= count, "step {step}");
            decision.is_granted()
        };
        match *op {
            Op::Advance(us) => row.advance(us),
            Op::Reload => key.reload(),
            Op::Acquire { cost, count } => {
                if fits(&key, &row, cost, count) {
                    key.take(now, &algorithm.text(count), cost);
                    row.count = count;
                    row.grant(None, cost);
                }
            }
            Op::Reserve { id, cost, count } => {
                if !open.iter().any(|(other, _)| *other == id) && fits(&key, &row, cost, count) {
                    key.reserve(now, &algorithm.text(count), id, cost, now + TTL);
                    row.count = count;
                    row.grant(Some(id), cost);
                    open.push((id, cost));
                }
            }
            Op::Settle { id, actual } => {
                let known = open.iter().position(|(other, _)| *other == id);
                assert_eq!(is_open(&key, id, now), known.is_some());
                if let Some(known) = known {
                    let (_, cost) = open.swap_remove(known);
                    key.settle(now, id, actual);
                    row.settle(id, cost, actual);
                    even(&mut row);
                }
            }
            Op::Refund(units) => {
                key.refund(now, units);
                row.take_back(units, |_| true);
            }
        }
        let limits = parse(&algorithm.text(row.count));
        for later in [0, 1, PERIOD / 7, PERIOD / 2, PERIOD - 1] {
            let mut then = row.clone();
            then.advance(later);
            assert_eq!(key.used(&limits, then.now)[0], then.used(), "step {step}, {later} later");
        }
    }
}

proptest! {
    #![proptest_config(crate::checked_limiter::cases())]

    #[test]
    fn sliding_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Sliding, &ops);
    }

    #[test]
    fn a_bucket_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Bucket, &ops);
    }

    #[test]
    fn a_window_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Fixed, &ops);
    }

    #[test]
    fn a_credit_gives_back_what_the_row_gives_back(ops in ops()) {
        history(Algorithm::Credit, &ops);
    }
}

/// One name under every algorithm, period and count.
const TEXTS: &[&str] = &[
    "30/s:name=x",
    "20/s:name=x",
    "30/2s:name=x",
    "60/5s:name=x",
    "bucket:30/s:name=x",
    "bucket:10/s:burst=30:name=x",
    "bucket:20/3s:name=x",
    "fixed:30/s:name=x",
    "fixed:50/2s:name=x",
    "fixed:40/ever:name=x",
    "fixed:30/s:start=first:name=x",
];

#[derive(Clone, Debug)]
enum Odd {
    Take { text: Index, units: u64 },
    Reserve { text: Index, id: u8, units: u64 },
    Release(u8),
    Refund(u64),
    Other,
    Reload,
}

fn odd() -> impl Strategy<Value = Vec<(Odd, u64)>> {
    let text = any::<Index>;
    let op = prop_oneof![
        4 => (text(), 0..12u64).prop_map(|(text, units)| Odd::Take { text, units }),
        4 => (text(), 0..6u8, 1..12u64).prop_map(|(text, id, units)| Odd::Reserve { text, id, units }),
        4 => (0..6u8).prop_map(Odd::Release),
        1 => (1..14u64).prop_map(Odd::Refund),
        1 => Just(Odd::Other),
        1 => Just(Odd::Reload),
    ];
    let gap = prop_oneof![3 => Just(0), 3 => 0..700_000u64, 1 => Just(PERIOD), 1 => 0..9 * PERIOD];
    prop::collection::vec((op, gap), 1..50)
}

proptest! {
    #![proptest_config(crate::checked_limiter::cases())]

    /// Whatever limits come and go under a name: with reservations among them that
    /// give everything back, no more is possible for the others than without.
    #[test]
    fn the_others_get_no_more_than_alone(ops in odd(), sticky in any::<Option<Index>>()) {
        let stand_in = StandIn::enter();
        let (mut both, mut alone) = (EffectKey::new(stand_in.main()), EffectKey::new(stand_in.main()));
        let mut now = START;
        let mut last = TEXTS[0];
        // But for the last: the first grant opens its window, whoever it is for.
        let text = |at: &Index| TEXTS[sticky.as_ref().unwrap_or(at).index(TEXTS.len() - 1)];
        for (op, gap) in &ops {
            now += gap;
            match op {
                Odd::Take { text: at, units } => {
                    last = text(at);
                    both.take(now, last, *units);
                    alone.take(now, last, *units);
                }
                Odd::Reserve { text: at, id, units } if !is_open(&both, *id, now) => {
                    last = text(at);
                    both.reserve(now, last, *id, *units, now + TTL);
                    alone.take(now, last, 0);
                }
                Odd::Release(id) => {
                    both.settle(now, *id, 0);
                    // What has expired is forgotten there.
                    let limits = Some(last);
                    alone.apply(now, RateLimitChange::GiveBack(GiveBack { limits, units: 0, calls: 0 }));
                }
                Odd::Refund(units) => {
                    both.refund(now, *units);
                    alone.refund(now, *units);
                }
                // The limit is set aside.
                Odd::Other => {
                    both.take(now, "7/3s", 1);
                    alone.take(now, "7/3s", 1);
                    continue;
                }
                Odd::Reload => both.reload(),
                Odd::Reserve { .. } => {}
            }
            let limits = parse(last);
            for later in [0, PERIOD / 3, PERIOD, 3 * PERIOD] {
                prop_assert!(both.used(&limits, now + later)[0] >= alone.used(&limits, now + later)[0]);
            }
        }
    }

    /// With a clock that jumps too: a settlement never gives back more than the
    /// reservation took, nor anything that was granted after it.
    #[test]
    fn a_settlement_leaves_what_came_later(ops in odd(), jumps in prop::collection::vec(any::<Index>(), 50)) {
        let stand_in = StandIn::enter();
        let mut key = EffectKey::new(stand_in.main());
        let mut now = START;
        let mut last = TEXTS[0];
        // Every unit that was granted and not taken back, by its owner.
        let mut granted: Vec<Option<u8>> = Vec::new();
        for ((op, gap), jump) in ops.iter().zip(&jumps) {
            now = match jump.index(8) {
                0 => now - 3 * gap,
                1 => now + 20 * gap,
                _ => now + gap,
            };
            let used = |key: &EffectKey, text: &str| key.used(&parse(text), now)[0];
            let before = used(&key, last);
            match op {
                Odd::Take { text, units } => {
                    last = TEXTS[text.index(TEXTS.len())];
                    key.take(now, last, *units);
                    granted.extend((0..*units).map(|_| None));
                }
                Odd::Reserve { text, id, units } if !granted.contains(&Some(*id)) => {
                    last = TEXTS[text.index(TEXTS.len())];
                    key.settle(now, *id, 0);
                    key.reserve(now, last, *id, *units, now + TTL);
                    granted.extend((0..*units).map(|_| Some(*id)));
                }
                Odd::Release(id) => {
                    let own = granted.iter().filter(|owner| **owner == Some(*id)).count() as u64;
                    let top = granted.iter().rposition(|owner| *owner == Some(*id));
                    let above = top.map_or(0, |top| granted.len() - top - 1) as u64;
                    key.settle(now, *id, 0);
                    let after = used(&key, last);
                    prop_assert!(after >= before.min(above), "{before} {after}, {above} came later");
                    prop_assert!(after + own >= before, "{before} {after} of {own}");
                    // What is not given back is nobody's from now on.
                    let mut given = before.saturating_sub(after);
                    for at in (0..granted.len()).rev().filter(|&at| granted[at] == Some(*id)).collect::<Vec<_>>() {
                        if given > 0 {
                            granted.remove(at);
                            given -= 1;
                        } else {
                            granted[at] = None;
                        }
                    }
                }
                Odd::Refund(units) => {
                    key.refund(now, *units);
                    let gone = before - used(&key, last);
                    granted.truncate(granted.len().saturating_sub(gone as usize));
                }
                Odd::Other => key.take(now, last, 0),
                Odd::Reload => key.reload(),
                Odd::Reserve { .. } => {}
            }
        }
    }
}
