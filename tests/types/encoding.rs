//! The stored form: lossless for every value that can come about, and never
//! believed.

use floodgate::core::time::Micros;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::ratelimit::encoding;
use floodgate::types::ratelimit::encoding::VERSION;
use proptest::prelude::*;

use crate::corruption::{forge, forgeries};
use crate::strategies::{apply, exercise, history, saved, time};

/// The payload of the value that a history leaves, if any.
fn payload(main: MainThread, history: &[(crate::strategies::Made, Micros)]) -> Vec<u8> {
    let mut value = None;
    for (made, now) in history {
        apply(main, &mut value, &made.at(*now));
    }
    value.map(|value| saved(main, &value)).unwrap_or_default()
}

/// Loads it; what loads must work, and come back from its own bytes.
fn load(main: MainThread, bytes: &[u8], now: Micros) -> bool {
    let Ok(value) = encoding::load(main, VERSION, bytes) else { return false };
    let first = saved(main, &value);
    let again = encoding::load(main, VERSION, &first).expect("its own bytes");
    assert_eq!(saved(main, &again), first);
    exercise(main, &mut Some(value), now);
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn every_value_comes_back_from_its_bytes(history in history(), now in time()) {
        let alone = StandIn::enter();
        let main = alone.main();
        let bytes = payload(main, &history);
        if !bytes.is_empty() {
            let value = encoding::load(main, VERSION, &bytes).expect("what was saved");
            prop_assert_eq!(saved(main, &value), bytes.clone());
            prop_assert!(load(main, &bytes, now));
            for version in [0, 2, 1023] {
                prop_assert!(encoding::load(main, version, &bytes).is_err());
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_whole(bytes in prop::collection::vec(any::<u8>(), 0..80), now in time()) {
        let alone = StandIn::enter();
        load(alone.main(), &bytes, now);
    }

    #[test]
    fn forged_bytes_are_refused_or_whole(
        history in history(),
        forgeries in forgeries(),
        now in time(),
    ) {
        let alone = StandIn::enter();
        let mut bytes = payload(alone.main(), &history);
        forge(&mut bytes, forgeries);
        load(alone.main(), &bytes, now);
    }
}

/// A section: tag, length, body.
fn section(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, u8::try_from(body.len()).unwrap()];
    bytes.extend(body);
    bytes
}

#[test]
fn sections_of_a_later_minor_version_are_passed_over() {
    let alone = StandIn::enter();
    let main = alone.main();
    let usage = section(1, b"\x035/s\x00");
    let value = encoding::load(main, VERSION, &usage).unwrap();
    assert_eq!(saved(main, &value), usage);
    let newer = [usage.clone(), section(99, b"anything"), section(100, b"")].concat();
    assert_eq!(saved(main, &encoding::load(main, VERSION, &newer).unwrap()), usage);
}

#[test]
fn each_broken_payload_has_its_reason() {
    let alone = StandIn::enter();
    let fresh = b"\x035/s\x00";
    let aside = |count: usize| {
        let one = [&b"\x055/1ms\x01\x02"[..], &[1, 1]].concat();
        let mut bytes = vec![2];
        let len = one.len() * count;
        bytes.extend([u8::try_from(len & 127).unwrap() | 128, u8::try_from(len >> 7).unwrap()]);
        bytes.extend(one.repeat(count));
        bytes
    };
    for (reason, bytes) in [
        ("empty", Vec::new()),
        ("empty", section(99, b"x")),
        ("ends too early", vec![1]),
        ("length out of range", vec![1, 9, 3]),
        ("ends too early", section(5, b"")),
        ("empty section", section(5, b"\x00")),
        ("ends too early", section(64, b"")),
        ("unknown section", section(6, b"")),
        ("unknown section", section(63, b"")),
        ("sections out of order", section(0, b"")),
        ("sections out of order", [section(4, b"\x00\x00"), section(3, b"\x035/s\x00")].concat()),
        ("sections out of order", [section(1, fresh), section(1, fresh)].concat()),
        ("bytes after the end", section(1, b"\x035/s\x00\x00")),
        ("malformed limits", section(1, b"\x035/x\x00")),
        ("malformed limits", section(1, b"\x01*\x00")),
        ("malformed limits", section(1, b"\x05@gold\x00")),
        ("not text", section(1, b"\x035/\xff\x00")),
        ("state of another algorithm", section(1, b"\x035/s\x02\x01\x00\x00")),
        ("state of another algorithm", section(1, b"\x09unlimited\x01\x02\x01\x01")),
        ("empty section", section(2, b"")),
        ("malformed limit", section(2, b"\x075/s,6/m\x00\x00")),
        ("malformed pin", section(3, b"\x035/x\x00")),
        ("number out of range", section(4, b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
        ("padded number", section(4, b"\x00\x80\x00")),
        ("too many limits set aside", aside(57)),
        ("ends too early", [section(4, b"\x00\x09"), section(66, b"\x00")].concat()),
        ("empty section", [section(4, b"\x00\x09"), section(66, b"\x00\x00")].concat()),
        ("the beginning of nothing", [section(4, b"\x00\x09"), section(66, b"\x01\x01")].concat()),
        ("it begins after its end", [section(4, b"\x00\x09"), section(66, b"\x00\x0a")].concat()),
        ("it begins after its end", [section(4, b"\x00\x00"), section(66, b"\x00\x01")].concat()),
        ("bytes after the end", [section(4, b"\x00\x09"), section(66, b"\x00\x01\x00")].concat()),
    ] {
        let refused = encoding::load(alone.main(), VERSION, &bytes).expect_err(reason);
        assert_eq!(refused.0, reason, "{}", bytes.escape_ascii());
    }
    assert!(encoding::load(alone.main(), VERSION, &aside(56)).is_ok());
}

/// Values as version 1 wrote them. They must load for ever: change the version,
/// never these.
#[test]
fn payloads_of_version_1_load() {
    let alone = StandIn::enter();
    let main = alone.main();
    for hex in GOLDEN {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let value = encoding::load(main, 1, &bytes).unwrap_or_else(|refused| panic!("{hex}: {refused}"));
        assert_eq!(saved(main, &value), bytes, "{hex}");
    }
}

const GOLDEN: &[&str] = &[
    // sliding, exact
    "011203352f730104c0e4c3add3fe920301e80702",
    // sliding, in slots
    "0110053130302f6d0105e09ba3c00507041e",
    // bucket
    "0120146275636b65743a31302f733a62757273743d35300280c7ead0c1f2bd1f0000",
    // bucket that misses more than it holds
    "011f136275636b65743a31302f733a62757273743d350280ce91dfc1f2bd1f0032",
    // calendar months
    "012e1d66697865643a372f6d6f6e74683a747a3d4575726f70652f50617269730380f8be81a5fd920380f883b4ec4d01",
    // windows from the first grant
    "01251566697865643a372f683a73746172743d666972737403c0e4c3add3fe920380c8ceb40d03",
    // weeks
    "011a0966697865643a392f770380c0dc9da7ee920380c08e87cd1102",
    // limits in use and limits set aside
    "012714313030302f683a7065723d63616c6c2c32302f73010388bade0b020102c0e4c3add3fe920303023f1d6275636b65743a31302f6d3a6b6565703d31322e35253a6e616d653d78028089c280c2f2bd1f00000a392f643a736861646f770102c0e4c3add3fe920302",
    // pin, block and usage
    "01100431302f6d0102c0e4c3add3fe920301030d0431302f6dc0ac92e2e0fe9203041108746f6f206d616e79c0f4e096eefe9203",
    // block for ever
    "04020000",
    // CL.THROTTLE
    "01230f7468726f74746c653a342f312f36300580f483dedabeadcc1800c0e4c3add3fe9203",
];
