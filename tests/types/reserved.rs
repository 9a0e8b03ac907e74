//! Reservations: how many are noted by one effect, and what is stored of whose units
//! are whose.

use crate::strategies::{apply, saved};
use floodgate::core::limits::Taken;
use floodgate::core::reservations::{Book, Reservation, Stage};
use floodgate::core::time::Micros;
use floodgate::core::wire::{put_bytes, put_u64};
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect, Reserve, Settle, TakeUnits};
use floodgate::types::intern::LimitsRef;
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{RateLimit, encoding};

/// The start of a minute.
const T0: u64 = 1_800_000_000_000_000;
const SECOND: u64 = 1_000_000;

fn at(main: MainThread, value: &mut Option<RateLimit>, now: u64, change: RateLimitChange<'_>) {
    assert!(apply(main, value, &RateLimitEffect { now: Micros(now), expires: true, change }));
}

fn used(main: MainThread, value: Option<&RateLimit>, limits: &str, now: u64) -> Vec<u64> {
    let limits = floodgate::core::limits::Limits::parse(limits.as_bytes()).unwrap();
    let Some(value) = value else { return vec![0; limits.as_slice().len()] };
    let states = value.seen_by(main, limits.as_slice(), Micros(now));
    let pairs = limits.as_slice().iter().zip(&states);
    pairs.map(|(limit, state)| limit.rule().used(state, Micros(now))).collect()
}

/// However many end together, an effect notes 64 and forgets 64.
#[test]
fn an_effect_notes_few_ends() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut value = None;
    for n in 0..1000u64 {
        let id = n.to_be_bytes();
        let (taken, end) = (Taken::new([1, 1]), Micros(T0 + SECOND));
        let limits = Some("1000000/h,concurrent:2000");
        at(main, &mut value, T0, RateLimitChange::Reserve(Reserve { limits, taken, id: &id, cost: 1, end }));
    }
    let stages = |value: &Option<RateLimit>| {
        let book = value.as_ref().unwrap().book().unwrap();
        let open = book.iter().filter(|(_, one)| one.stage == Stage::Open).count();
        (open, book.len())
    };
    assert_eq!(stages(&value), (1000, 1000));
    for step in 1..=3 {
        at(main, &mut value, T0 + SECOND, RateLimitChange::Touch(None));
        assert_eq!(stages(&value), (1000 - 64 * step, 1000));
    }
    // Their units leave: those that are noted are forgotten, as many are noted anew.
    let late = T0 + 2 * 3600 * SECOND;
    let (taken, end) = (Taken::new([1, 1]), Micros(late + SECOND));
    let limits = Some("1000000/h,concurrent:2000");
    at(main, &mut value, late, RateLimitChange::Reserve(Reserve { limits, taken, id: b"new", cost: 1, end }));
    let (open, all) = stages(&value);
    assert!(open > 600 && all > 800, "{open} of {all}");
    for _ in 0..20 {
        at(main, &mut value, late, RateLimitChange::Touch(None));
    }
    assert_eq!(stages(&value), (1, 1));
}

/// A key that held many and holds one again is what a key is that held but one, and takes
/// as much.
#[test]
fn a_key_that_holds_one_again_is_as_small_as_before() {
    let alone = StandIn::enter();
    let main = alone.main();
    for limits in ["concurrent:20", "100/h", "100/h,concurrent:20"] {
        let reserve = |value: &mut Option<RateLimit>, id: u8| {
            let (taken, end) = (Taken::new([1, 1]), Micros(T0 + SECOND));
            let limits = Some(limits);
            at(main, value, T0, RateLimitChange::Reserve(Reserve { limits, taken, id: &[id], cost: 1, end }));
        };
        let (mut one, mut value) = (None, None);
        reserve(&mut one, 0);
        (0..12).for_each(|id| reserve(&mut value, id));
        let copy = value.as_ref().unwrap().duplicate(main);
        (1..12).rev().for_each(|id| {
            at(main, &mut value, T0, RateLimitChange::Settle(Settle { id: &[id], how: Settlement::Release }));
        });
        let (one, value) = (one.unwrap(), value.unwrap());
        assert_eq!(saved(main, &value), saved(main, &one), "{limits}");
        assert_eq!(value.memory(), one.memory(), "{limits}");
        // A copy of then still holds them all.
        assert_eq!(copy.book().map(Book::len), Some(12));
        assert!(copy.memory() > 8 * size_of::<Reservation<LimitsRef>>());
        let mut copy = Some(copy);
        (1..12).for_each(|id| {
            at(main, &mut copy, T0, RateLimitChange::Settle(Settle { id: &[id], how: Settlement::Release }));
        });
        assert_eq!(saved(main, copy.as_ref().unwrap()), saved(main, &one), "{limits}");
    }
}

/// One reservation as 0.1 stored it.
struct Old {
    id: &'static str,
    cost: u64,
    granted: u64,
}

/// The payload of a key of 0.1: what it used, and open reservations on all its limits.
fn of_0_1(main: MainThread, limits: &str, takes: &[(u64, u64)], all: &[Old]) -> Vec<u8> {
    let mut value = None;
    let mut grants: Vec<(u64, u64)> = takes.to_vec();
    grants.extend(all.iter().map(|one| (one.granted, one.cost)));
    grants.sort_unstable();
    for (now, units) in grants {
        let change = RateLimitChange::Take(TakeUnits { limits: Some(limits), taken: Taken::new([units]) });
        at(main, &mut value, now, change);
    }
    let mut payload = saved(main, &value.unwrap());
    let mut body = Vec::new();
    put_u64(&mut body, 1);
    put_bytes(&mut body, limits.as_bytes());
    for Old { id, cost, granted } in all {
        put_bytes(&mut body, id.as_bytes());
        put_u64(&mut body, 0);
        body.extend([1, 0]);
        for number in [*cost, *granted, granted + 3600 * SECOND, granted + 61 * SECOND] {
            put_u64(&mut body, number);
        }
    }
    put_u64(&mut payload, 5);
    put_bytes(&mut payload, &body);
    payload
}

/// What version 0.1 remembered gives back no more than is certainly its own, and its
/// own where that is certain.
#[test]
fn reservations_of_0_1_give_back_what_is_surely_theirs() {
    let alone = StandIn::enter();
    let main = alone.main();
    let release = |payload: &[u8], id: &str, now: u64, limits: &str| {
        let mut value = Some(encoding::load(main, encoding::VERSION, payload).unwrap());
        let bytes = saved(main, value.as_ref().unwrap());
        let again = encoding::load(main, encoding::VERSION, &bytes).unwrap();
        assert_eq!(saved(main, &again), bytes);
        at(
            main,
            &mut value,
            now,
            RateLimitChange::Settle(Settle { id: id.as_bytes(), how: Settlement::Release }),
        );
        used(main, value.as_ref(), limits, now)[0]
    };
    for limits in ["10/m", "100/m", "bucket:10/m", "fixed:10/m", "fixed:10/h:start=first"] {
        // Alone it gives back all that is in use of it.
        let payload = of_0_1(main, limits, &[], &[Old { id: "a", cost: 6, granted: T0 }]);
        assert_eq!(release(&payload, "a", T0 + SECOND, limits), 0, "{limits}");
        // All of it has left; what is in use is somebody else's.
        let later = T0 + 4000 * SECOND;
        let payload = of_0_1(main, limits, &[(later, 10)], &[Old { id: "a", cost: 10, granted: T0 }]);
        assert_eq!(release(&payload, "a", later, limits), 10, "{limits}");
        // Two of them, with others' units between: neither gives back what is not there.
        let two = [Old { id: "a", cost: 3, granted: T0 }, Old { id: "b", cost: 4, granted: T0 + 2 }];
        let payload = of_0_1(main, limits, &[(T0 + 1, 2)], &two);
        assert!(release(&payload, "a", T0 + 3, limits) >= 6, "{limits}");
        assert!(release(&payload, "b", T0 + 3, limits) >= 5, "{limits}");
    }
    // In a window and at one moment they are told apart.
    let two = [Old { id: "a", cost: 3, granted: T0 }, Old { id: "b", cost: 4, granted: T0 + 2 }];
    let payload = of_0_1(main, "fixed:10/m", &[], &two);
    assert_eq!(release(&payload, "a", T0 + 3, "fixed:10/m"), 4);
    assert_eq!(release(&payload, "b", T0 + 3, "fixed:10/m"), 3);
}

#[test]
fn each_broken_section_has_its_reason() {
    let alone = StandIn::enter();
    let main = alone.main();
    let mut value = None;
    let (taken, end) = (Taken::new([3]), Micros(T0 + SECOND));
    let change = RateLimitChange::Reserve(Reserve { limits: Some("9/s"), taken, id: b"a", cost: 3, end });
    at(main, &mut value, T0, change);
    let whole = saved(main, value.as_ref().unwrap());
    // The section is the last, and its body starts with one set of limits.
    let start = whole.windows(6).rposition(|part| part == [8, part[1], 1, 3, b'9', b'/']).unwrap();
    let one = |numbers: &[u64], rank: u64, rest: &[u64]| {
        let mut body = vec![1, 3, b'9', b'/', b's'];
        put_u64(&mut body, T0);
        for number in numbers {
            put_u64(&mut body, *number);
        }
        body.extend([1, b'a', 0, 1, 0, 3]);
        for time in [T0, T0, T0 + SECOND, T0 + SECOND] {
            put_u64(&mut body, time);
        }
        put_u64(&mut body, rank);
        rest.iter().for_each(|number| put_u64(&mut body, *number));
        let mut bytes = whole[..start].to_vec();
        put_u64(&mut bytes, 8);
        put_bytes(&mut bytes, &body);
        bytes
    };
    assert_eq!(one(&[1], 0, &[3, 0, 0]), whole);
    let load = |bytes: &[u8]| encoding::load(main, encoding::VERSION, bytes).map(drop);
    for (reason, bytes) in [
        ("number out of range", one(&[1], 1, &[3, 0, 0])),
        ("reservations out of order", one(&[2], 0, &[3, 0, 0])),
        ("ends too early", one(&[1], 0, &[3, 0])),
        ("bytes after the end", one(&[1], 0, &[3, 0, 0, 0])),
        ("bytes after the end", one(&[1], 0, &[0, 0, 0])),
        ("limits that no reservation has", one(&[0], 0, &[3, 0, 0])),
    ] {
        assert_eq!(load(&bytes).expect_err(reason).0, reason);
    }
    // Units as many as there never are stand for units that have left long ago.
    for rest in [[u64::MAX, u64::MAX, u64::MAX], [1, u64::MAX, 0], [u64::MAX, 0, 7]] {
        let mut value = Some(encoding::load(main, encoding::VERSION, &one(&[1], 0, &rest)).unwrap());
        let bytes = saved(main, value.as_ref().unwrap());
        assert_eq!(bytes, one(&[1], 0, &rest));
        at(main, &mut value, T0, RateLimitChange::Settle(Settle { id: b"a", how: Settlement::At(1) }));
    }
    // Without any of its own it only stands committed.
    assert!(load(&one(&[1], 0, &[0])).is_ok());
}
