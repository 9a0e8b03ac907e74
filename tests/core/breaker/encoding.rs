//! Circuits as bytes. That every state comes back as it was is checked at each
//! step of the histories; here is what no circuit wrote.

use super::key::{Key, START, breaker};
use floodgate::core::breaker::{Circuit, CircuitState, Force, Report, ReportOutcome};
use floodgate::core::time::Micros;
use floodgate::core::wire::Reader;
use proptest::prelude::*;

const TEXTS: &[&str] = &[
    "3:open=1s:probes=3:ramp=5s",
    "50%/60s:min=2:open=1s",
    "50%/60s:min=2:open=1s:slow=1s:probes=9",
    "50%/100calls:min=2:open=1s",
    "50%/3calls:open=1s:slow=1s:probes=4:ramp=1s",
];

/// One circuit in each state.
fn circuits(text: &str) -> Vec<Key> {
    let build = |upto: usize| {
        let mut key = Key::new(text);
        key.run("ssl");
        if upto > 0 {
            key.run("fffffff");
        }
        if upto > 1 {
            key.wait_ms(1000);
            key.admit();
        }
        if upto > 2 {
            let probes = key.breaker.probes();
            let mut trials: Vec<_> = (1..probes).map(|_| key.admit()).collect();
            trials.push(floodgate::core::breaker::Permit::Trial { epoch: key.circuit.epoch(), trial: 1 });
            for trial in trials {
                key.ok(trial);
            }
        }
        if upto == 4 {
            key.force(Force::Open, Some(5000));
        }
        if upto == 5 {
            key.force(Force::Closed, None);
        }
        key
    };
    (0..6).map(build).collect()
}

fn bytes(circuit: &Circuit) -> Vec<u8> {
    let mut out = Vec::new();
    circuit.write(&mut out);
    out
}

#[test]
fn every_state_comes_back() {
    for text in TEXTS {
        let keys = circuits(text);
        let states: Vec<_> = keys.iter().map(|key| key.circuit.state()).collect();
        let expected = [
            CircuitState::Closed,
            CircuitState::Open,
            CircuitState::HalfOpen,
            CircuitState::Closed,
            CircuitState::ForcedOpen,
            CircuitState::ForcedClosed,
        ];
        assert_eq!(states, expected, "{text}");
        for key in keys {
            let bytes = bytes(&key.circuit);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Circuit::read(&mut reader, &key.breaker), Ok(key.circuit));
            assert!(reader.is_empty());
            for cut in 0..bytes.len() {
                assert!(Circuit::read(&mut Reader::new(&bytes[..cut]), &key.breaker).is_err());
            }
        }
    }
}

/// Uses a circuit that came from anywhere in every way, and sees it recover.
fn use_and_recover(circuit: Circuit, text: &str) {
    let mut key = Key { breaker: breaker(text), circuit, now: START };
    for now in [START, Micros(0), Micros::MAX, START] {
        key.now = now;
        key.view();
        key.circuit.expires_at(&key.breaker, now);
        key.circuit.heap_bytes();
        key.acquire();
        key.run("fls");
        let again = bytes(&key.circuit);
        assert_eq!(Circuit::read(&mut Reader::new(&again), &key.breaker).as_ref(), Ok(&key.circuit));
    }
    key.force(Force::Closed, None);
    key.force(Force::Auto, None);
    assert!(key.acquire().allowed);
}

/// Whatever a payload says, nothing but a force denies for ever.
fn recovers(circuit: &Circuit, text: &str) {
    let mut key = Key { breaker: breaker(text), circuit: circuit.clone(), now: START };
    for _ in 0..3 {
        if key.acquire().retry.millis() < 0 {
            return;
        }
        key.wait_ms(367 * 86_400_000);
    }
    let mut trials = Vec::new();
    while trials.len() < 100
        && let Some(trial) = key.acquire().permit
    {
        trials.push(trial);
    }
    for trial in trials {
        key.report(ReportOutcome::Ok, Some(trial), Some(0));
    }
    assert!(
        matches!(key.circuit.state(), CircuitState::Closed | CircuitState::ForcedClosed),
        "{:?}",
        key.circuit
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_bytes_are_refused_or_work(
        text in 0..TEXTS.len(),
        which in 0usize..6,
        other in 0..TEXTS.len(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes(&circuits(TEXTS[text])[which].circuit);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        for text in [TEXTS[text], TEXTS[other]] {
            if let Ok(circuit) = Circuit::read(&mut Reader::new(&bytes), &breaker(text)) {
                recovers(&circuit, text);
                use_and_recover(circuit, text);
            }
        }
    }

    #[test]
    fn random_bytes_are_refused_or_work(bytes in any::<Vec<u8>>(), text in 0..TEXTS.len()) {
        if let Ok(circuit) = Circuit::read(&mut Reader::new(&bytes), &breaker(TEXTS[text])) {
            use_and_recover(circuit, TEXTS[text]);
        }
    }
}

/// A forged payload may hold the largest numbers that are accepted: what the
/// circuit does from there must load again.
#[test]
fn the_largest_numbers_load_again_after_whatever_happens() {
    let largest = 1_u64 << 53;
    let mut key = Key::new("50%/4calls:min=4:open=1s:probes=3");
    key.run("ffff");
    key.wait_ms(1000);
    key.admit();
    let mut forged = Vec::new();
    floodgate::core::wire::put_u64(&mut forged, largest);
    let mut rest = Vec::new();
    key.circuit.write(&mut rest);
    let mut reader = Reader::new(&rest);
    reader.u64().unwrap();
    let tail: Vec<u8> = std::iter::from_fn(|| reader.byte().ok()).collect();
    forged.extend(tail);
    key.circuit = Circuit::read(&mut Reader::new(&forged), &key.breaker).unwrap();
    assert_eq!(key.circuit.epoch(), largest);
    for _ in 0..3 {
        key.acquire();
        key.wait_ms(120_000);
        key.acquire();
        let written = bytes(&key.circuit);
        let read = Circuit::read(&mut Reader::new(&written), &key.breaker).unwrap();
        assert_eq!(read, key.circuit);
    }
}

/// A payload may claim that all numbers of trials are given out. It was a breaker
/// that denied for ever, and told to retry at once.
#[test]
fn a_round_without_numbers_is_not_stuck() {
    let breaker = breaker("3:open=1s:probes=2:lease=1s");
    let now = START;
    let mut payload = vec![9, 9, 9, 1, 0, 3, 0, 0, 0];
    floodgate::core::wire::put_u64(&mut payload, 1 << 53);
    payload.extend([0, 0, 0]);
    let mut circuit = Circuit::read(&mut Reader::new(&payload), &breaker).unwrap();
    let permits = [0, 1].map(|_| circuit.acquire(&breaker, now).permit.unwrap());
    assert_ne!(permits[0], permits[1]);
    for permit in permits {
        circuit.report(&breaker, now, &Report::new(ReportOutcome::Ok, Some(permit), None));
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn impossible_payloads_are_refused() {
    // epoch, since, touched, openings, judged, half-open; then the round; then one window, a run.
    let read = |round: &[u8], text: &str| {
        let bytes = [&[9, 9, 9, 1, 0, 3], round, &[0, 0]].concat();
        let mut reader = Reader::new(&bytes);
        Circuit::read(&mut reader, &breaker(text)).map(|_| ()).map_err(|corrupt| corrupt.0)
    };
    // done, failures, slow, admitted, in flight: (id, began, lease)*
    assert_eq!(read(&[1, 0, 0, 3, 1, 2, 99, 9], "1:probes=2"), Ok(()));
    // Under another breaker it had no verdict.
    assert_eq!(read(&[2, 0, 0, 3, 1, 2, 99, 9], "1:probes=2"), Ok(()));
    let impossible = Err("impossible round of trials");
    assert_eq!(read(&[0, 1, 0, 3, 1, 2, 99, 9], "50%/1h:probes=9"), impossible);
    assert_eq!(read(&[0, 0, 1, 3, 1, 2, 99, 9], "1:probes=2"), impossible);
    assert_eq!(read(&[0, 0, 0, 3, 2, 2, 99, 9, 1, 99, 9], "1:probes=2"), Err("trials out of order"));
    assert_eq!(read(&[0, 0, 0, 3, 1, 0, 99, 9], "1:probes=2"), Err("trials out of order"));
    assert_eq!(read(&[0, 0, 0, 3, 1, 4, 99, 9], "1:probes=2"), Err("number out of range"));
    assert_eq!(read(&[0, 0, 0, 3, 101, 1, 99, 9], "1:probes=2"), Err("number out of range"));
}

#[test]
fn impossible_windows_are_refused() {
    // epoch, since, touched, openings, judged, closed; then the windows.
    let read = |windows: &[u8], text: &str| {
        let bytes = [&[9, 9, 9, 1, 0, 0], windows].concat();
        let mut reader = Reader::new(&bytes);
        let read = Circuit::read(&mut reader, &breaker(text)).map(|_| ()).map_err(|corrupt| corrupt.0);
        read.and_then(|()| reader.end().map_err(|corrupt| corrupt.0))
    };
    // 2: several; the run in force, one beside it of 9 calls without results, kept until 7.
    assert_eq!(read(&[2, 5, 1, 2, 9, 0, 7], "3"), Ok(()));
    assert_eq!(read(&[2, 5, 0, 7], "3"), Ok(()));
    assert_eq!(read(&[8, 5], "3"), Err("unknown windows"));
    assert_eq!(read(&[2, 5, 3, 2, 9, 0, 7], "3"), Err("number out of range"));
    assert_eq!(read(&[2, 5, 1, 0, 5, 7], "3"), Err("two windows of one kind"));
    assert_eq!(read(&[2, 5, 2, 2, 9, 0, 2, 9, 0, 7], "3"), Err("two windows of one kind"));
    assert_eq!(read(&[2, 5, 1, 2, 0, 0, 7], "3"), Err("number out of range"));
    assert_eq!(read(&[2, 5, 1, 1, 9, 0, 0, 7], "3"), Err("number out of range"));
    assert_eq!(read(&[2, 5, 1, 3, 9, 0, 7], "3"), Err("unknown kind of window"));
    assert_eq!(read(&[0, 0], "50%/9calls:slow=1s"), Err("a window without slow calls"));
    // 4: reporters; a run of 2 failures, one reporter in two halves, in its only place.
    assert_eq!(read(&[4, 2, 1, 7, 0, 0], "3:reporters=2"), Ok(()));
    assert_eq!(read(&[4, 2, 0], "3"), Ok(()));
    assert_eq!(read(&[0, 2], "3:reporters=2"), Err("a window without reporters"));
    assert_eq!(read(&[4, 2, 1, 7, 0, 1], "3"), Err("impossible reporters"));
    assert_eq!(read(&[4, 0, 1, 7, 0, 0], "3"), Err("impossible reporters"));
    assert_eq!(read(&[4, 2, 2, 7, 0, 0, 7, 0, 0], "3"), Err("impossible reporters"));
    assert_eq!(read(&[4, 2, 9], "3"), Err("number out of range"));
    // 20 slices since the epoch, none with a call; then a reporter too early, and one ahead.
    assert_eq!(read(&[4, 20, 0, 1, 7, 0, 5], "3/1h"), Ok(()));
    assert_eq!(read(&[4, 20, 0, 1, 7, 0, 4], "3/1h"), Err("impossible reporters"));
    assert_eq!(read(&[4, 20, 0, 1, 7, 0, 21], "3/1h"), Err("impossible reporters"));
    assert_eq!(read(&[4, 1, 1, 1, 7, 0, 0], "50%/9calls"), Ok(()));
    assert_eq!(read(&[4, 1, 1, 1, 7, 0, 1], "50%/9calls"), Err("impossible reporters"));
    // Slow calls have reporters of their own.
    assert_eq!(read(&[5, 1, 1, 1, 1, 7, 0, 0, 1, 8, 0, 0], "50%/9calls:slow=1s"), Ok(()));
}

/// What version 0.1 wrote: one window, and leases and ramps by the breaker beside it.
#[test]
fn what_version_0_1_wrote_loads() {
    let read = |bytes: &[u8], text: &str| {
        let mut reader = Reader::new(bytes);
        let circuit = Circuit::read_0_1(&mut reader, &breaker(text)).unwrap();
        assert!(reader.is_empty());
        Key { breaker: breaker(text), circuit, now: Micros(1_000_000) }
    };
    let number = |n: u64| {
        let mut out = Vec::new();
        floodgate::core::wire::put_u64(&mut out, n);
        out
    };
    // A run of 2 failures.
    let mut key = read(&[9, 9, 9, 0, 0, 2], "3:open=1s");
    assert_eq!(key.run("f"), "o");
    // Half-open: one of two trials in flight until 3 s, under a lease of 2 s.
    let bytes = [&[9, 9, 9, 1, 3, 0, 0, 0, 1, 1, 1][..], &number(3_000_000), &[0]].concat();
    let mut key = read(&bytes, "3:probes=1:lease=2s");
    assert_eq!(key.deny(), 2000);
    // Closed in a ramp of 10 s, half a call to begin with; then no result.
    let bytes = [&[9, 9, 9, 0, 1][..], &number(5_000_000), &[0]].concat();
    let mut key = read(&bytes, "3:ramp=10s");
    key.now = Micros(5_000_009);
    key.admit();
    assert_eq!(key.deny(), 1);
}
