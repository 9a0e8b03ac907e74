//! The shapes of a key's memory: whichever it is, the value is the same.

use floodgate::core::limits::{Limits, MAX_UNITS, State, Taken, give_back, take};
use floodgate::core::time::Micros;
use floodgate::core::wire::{Reader, put_u64, put_u128};
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::StandIn;
use floodgate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect, TakeUnits};
use floodgate::types::intern;
use floodgate::types::ratelimit::{RateLimit, encoding};
use proptest::prelude::*;

use crate::strategies::{Made, apply, saved, time};

/// Limits of one algorithm each, so that a key of them may be small.
const SINGLE: &[&str] = &[
    "1/1ms",
    "5/s",
    "65/m",
    "1000000000000/366d",
    "bucket:5/s",
    "bucket:1000000000000/1ms:burst=1000000000000",
    "bucket:1/366d:burst=1000000000000",
    "fixed:7/m",
    "fixed:1000000000000/1ms",
    "fixed:7/1500ms",
    "fixed:7/month",
    "fixed:7/366d",
    "fixed:7/d:tz=America/New_York",
    "fixed:7/h:start=first",
    "fixed:1000000/90d:start=first",
    "fixed:1000000000000/ever",
    "throttle:4/1/60",
    "unlimited",
];

const SMALL: usize = 16;

fn units() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..8u64, 2 => 0..2_000u64, 1 => 0..=MAX_UNITS, 1 => (0..48u32).prop_map(|bits| 1 << bits)]
}

/// A time in steps of all sizes, so that windows start on whole seconds and on none.
fn start() -> impl Strategy<Value = u64> {
    (prop::sample::select(&[1, 1_000, 1_000_000][..]), time()).prop_map(|(step, time)| time.0 / step * step)
}

/// A limit and a state as it is stored for it, possible or not.
fn stored() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let length = (prop::sample::select(&[1, 1_000, 1_000_000][..]), 0..40_000_000u64, 0..60u32);
    let numbers = (start(), length, units(), 0..4u64, prop::sample::select(SINGLE), 0..(1u128 << 92));
    numbers.prop_map(|(start, (step, steps, shift), units, slots, text, full)| {
        let mut bytes = Vec::new();
        if text.starts_with("fixed") {
            bytes.push(3);
            // A credit has no length.
            let length = if text.ends_with("/ever") { 0 } else { (steps >> (shift / 2)) * step };
            for number in [start, length, units] {
                put_u64(&mut bytes, number);
            }
        } else if text.starts_with("bucket") {
            bytes.push(2);
            put_u128(&mut bytes, full >> shift);
            put_u64(&mut bytes, if slots == 0 { units } else { 0 });
        } else {
            let coarse = shift & 1;
            bytes.push(1);
            put_u64(&mut bytes, slots << 1 | u64::from(coarse));
            for at in 0..slots {
                put_u64(&mut bytes, if at == 0 { start >> (coarse * 20) } else { 1 });
                put_u64(&mut bytes, units);
            }
        }
        (text, bytes)
    })
}

/// What happens to a key.
#[derive(Clone, Copy, Debug)]
enum Step {
    GiveBack,
    /// As [`Step::Take`], after the clock stepped back.
    TakeEarlier,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    (0..8u32).prop_map(|kind| match kind {
        0 => Step::GiveBack,
        1 => Step::TakeEarlier,
        _ => Step::Take,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Any state that can be stored is in a key what it was.
    #[test]
    fn every_state_comes_back_from_its_shape((text, bytes) in stored()) {
        let alone = StandIn::enter();
        let main = alone.main();
        let limits = Limits::parse_stored(text.as_bytes()).expect("limits");
        if let Ok(state) = State::read(&mut Reader::new(&bytes), limits.as_slice()[0].rule()) {
            let value = RateLimit::new(intern::intern(main, limits), vec![state.clone()]);
            value.with_states(|states| assert_eq!(states, [state]));
            let payload = saved(main, &value);
            prop_assert!(payload.ends_with(&bytes));
            let copy = value.duplicate(main);
            prop_assert_eq!(copy.memory(), value.memory());
            prop_assert_eq!(saved(main, &copy), payload);
        }
    }

    /// A key's states are those of the plain rules, however its shape changed,
    /// and equal to those of a key that was just loaded.
    #[test]
    fn a_key_is_what_its_rules_make_it(
        text in prop::sample::select(SINGLE),
        first in time(),
        steps in prop::collection::vec((units(), prop::sample::select(&[0, 1, 999, 40_000, 3_000_000, 90_000_000_000][..]), step()), 1..20),
    ) {
        let alone = StandIn::enter();
        let main = alone.main();
        let limits = Limits::parse_stored(text.as_bytes()).expect("limits");
        let (mut kept, mut loaded, mut states) = (None, None, vec![State::Fresh]);
        let mut now = first;
        for (units, us, step) in steps {
            now = match step {
                Step::TakeEarlier => now.minus(us),
                Step::GiveBack | Step::Take => Micros((now.0 + us).min(Micros::MAX.0)),
            };
            let (made, taken) = (Made::GiveBack(None, units, units), Taken::new([units]));
            let effect = if matches!(step, Step::GiveBack) && kept.is_some() {
                for (limit, state) in limits.as_slice().iter().zip(&mut states) {
                    let _ = give_back(limit, state, now, 0, units);
                }
                made.at(now)
            } else {
                if kept.is_none() {
                    states = vec![State::Fresh];
                }
                let _ = take(limits.as_slice(), &mut states, now, &taken);
                let named = if kept.is_none() { Some(text) } else { None };
                RateLimitEffect { now, expires: true, change: RateLimitChange::Take(TakeUnits { limits: named, taken }) }
            };
            prop_assert!(apply(main, &mut kept, &effect));
            prop_assert!(apply(main, &mut loaded, &effect));
            prop_assert_eq!(kept.is_some(), loaded.is_some());
            let (Some(held), Some(other)) = (&kept, &loaded) else { continue };
            held.with_states(|held| assert_eq!(held, states));
            let bytes = saved(main, held);
            prop_assert_eq!(&saved(main, other), &bytes);
            let again = encoding::load(main, encoding::VERSION, &bytes).expect("its own bytes");
            prop_assert!(again.memory() <= held.memory());
            loaded = Some(again);
        }
    }
}

#[test]
fn what_is_common_is_small() {
    let alone = StandIn::enter();
    let main = alone.main();
    let now = Micros(1_772_366_400_123_456);
    for (text, cost, small) in [
        ("bucket:5/s", 3, true),
        ("bucket:5/s", 6, false),
        ("5/s", 5, true),
        ("1000000000000/d", 1_000_000_000_000, true),
        ("fixed:100/m", 100, true),
        ("fixed:1000000000/d", 1_000_000_000, true),
        ("fixed:1000000000000/d", 1_000_000_000_000, false),
        ("fixed:9/month:tz=Asia/Kathmandu", 9, true),
        ("fixed:9/366d", 9, true),
        ("fixed:9/250ms", 9, true),
        ("fixed:200000/30d:start=first", 200_000, true),
        ("fixed:300000/30d:start=first", 300_000, false),
        ("fixed:9/250ms:start=first", 9, false),
        ("fixed:1000000000000/ever", 1_000_000_000_000, true),
        ("throttle:4/1/60", 1, false),
        ("5/s,6/m", 1, false),
    ] {
        let mut value = None;
        let change = RateLimitChange::Take(TakeUnits { limits: Some(text), taken: Taken::new([cost, cost]) });
        assert!(apply(main, &mut value, &RateLimitEffect { now, expires: true, change }), "{text}");
        assert_eq!(value.expect(text).memory() == SMALL, small, "{text} {cost}");
    }
}

#[test]
fn a_second_slot_needs_room() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut value = None;
    let mut take = |text, now| {
        let change = RateLimitChange::Take(TakeUnits { limits: text, taken: Taken::new([1]) });
        assert!(apply(main, &mut value, &RateLimitEffect { now: Micros(now), expires: true, change }));
        value.as_ref().map(|value| (value.memory(), saved(main, value)))
    };
    assert_eq!(take(Some("5/s"), 7_000_000).unwrap().0, SMALL);
    assert_eq!(take(None, 7_000_000).unwrap().0, SMALL);
    assert!(take(None, 7_000_001).unwrap().0 > SMALL);
    // One slot is left: it stays in the larger shape until it is loaded again.
    let (memory, bytes) = take(None, 9_000_000).unwrap();
    assert!(memory > SMALL);
    let loaded = encoding::load(main, encoding::VERSION, &bytes).unwrap();
    assert_eq!((loaded.memory(), saved(main, &loaded)), (SMALL, bytes));
}

/// Limits that take turns do not move a key's value each time; once they stay it is small again.
#[test]
fn a_key_is_small_again_once_its_limits_stay() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut value = None;
    let mut take = |now, limits| {
        let change = RateLimitChange::Take(TakeUnits { limits, taken: Taken::new([1]) });
        assert!(apply(main, &mut value, &RateLimitEffect { now: Micros(now), expires: true, change }));
        value.as_ref().map_or(0, RateLimit::memory)
    };
    let now = 1_800_000_000_000_000;
    assert_eq!(take(now, Some("bucket:5/h")), SMALL);
    let changed = take(now + 1, Some("bucket:9/h"));
    assert!(changed > SMALL, "{changed}");
    assert_eq!(take(now + 2, Some("bucket:5/h")), changed);
    assert_eq!(take(now + 3, None), SMALL);
}
