//! Circuits as bytes. That every state comes back as it was is checked at each
//! step of the histories; here is what no circuit wrote.

use super::key::{Key, START, breaker};
use floodgate::core::breaker::{Circuit, Force, Outcome, State};
use floodgate::core::clock::Micros;
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
            trials.push(floodgate::core::breaker::Ticket::Trial { epoch: key.circuit.epoch(), trial: 1 });
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
            State::Closed,
            State::Open,
            State::HalfOpen,
            State::Closed,
            State::ForcedOpen,
            State::ForcedClosed,
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
        && let Some(trial) = key.acquire().ticket
    {
        trials.push(trial);
    }
    for trial in trials {
        key.report(Outcome::Ok, Some(trial), Some(0));
    }
    assert!(matches!(key.circuit.state(), State::Closed | State::ForcedClosed), "{:?}", key.circuit);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

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

/// A payload may say the highest epoch there is. What the circuit becomes from
/// there must load again, or the server's own dump would not.
#[test]
fn the_highest_epoch_still_comes_back() {
    let rule = breaker("3:open=1s");
    let mut circuit = Circuit::new(&rule, START, u64::MAX);
    circuit.force(&rule, START, Force::Open, None, b"");
    circuit.reset(&rule, START);
    assert_eq!(Circuit::read(&mut Reader::new(&bytes(&circuit)), &rule), Ok(circuit));
}
