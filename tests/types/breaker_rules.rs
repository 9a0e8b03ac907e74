//! The table of interned breakers.

use floodgate::server::main_thread::StandIn;
use floodgate::types::cbcircuit::rules::{LEAST_SWEEP, find, find_stored, room, size, sweep_unused};

#[test]
fn equal_breakers_are_one_and_unused_ones_are_swept() {
    let alone = StandIn::enter();
    let main = alone.main();
    let kept = find(main, b"50%/60s").unwrap_or_else(|e| unreachable!("{e}"));
    assert_eq!(find(main, b"50%/1m").ok().as_ref(), Some(&kept));
    assert_eq!(find(main, b"50%/60000ms").ok().as_ref(), Some(&kept));
    assert!(kept.is(b"50%/60s") && kept.is(b"50%/1m") && !kept.is(b"51%/1m"));
    for n in 1..5000 {
        assert!(find(main, format!("{n}/61s").as_bytes()).is_ok());
        assert!(find(main, format!("50%/60s:min={n:09}").as_bytes()).is_ok());
    }
    assert!(size(main) <= LEAST_SWEEP);
    assert_eq!(find(main, b"50%/1m").ok().as_ref(), Some(&kept));
}

#[test]
fn what_was_stored_is_found_although_it_is_refused_now() {
    let alone = StandIn::enter();
    let main = alone.main();
    let text = b"50%/5calls:reporters=8";
    assert!(find(main, text).is_err());
    let stored = find_stored(main, text).unwrap_or_else(|e| unreachable!("{e}"));
    assert_eq!(find_stored(main, text).ok().as_ref(), Some(&stored));
    assert!(find(main, text).is_err());
    assert!(find_stored(main, b"50%/5calls:reporters=9").is_err());
}

#[test]
fn the_table_shrinks_when_its_keys_have_gone() {
    let alone = StandIn::enter();
    let main = alone.main();
    let room = || room(main);
    let texts = (1..20_000).map(|n| format!("{n}/62s"));
    let held: Vec<_> = texts.filter_map(|text| find(main, text.as_bytes()).ok()).collect();
    assert!(held.len() == 19_999 && size(main) >= 19_999 && room() >= 19_999);
    drop(held);
    sweep_unused(main);
    assert!(size(main) <= LEAST_SWEEP && room() <= 4 * LEAST_SWEEP, "{} {}", size(main), room());
}
