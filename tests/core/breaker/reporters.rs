//! Breakers that ask for several reporters.

use super::key::{Key, START, breaker};
use floodgate::core::breaker::{Circuit, CircuitState, REPORTER_BYTES, Report, ReportOutcome, Reporter};
use floodgate::core::time::Micros;
use proptest::prelude::*;

fn seen(key: &Key) -> (u8, u8) {
    let reporters = key.view().reporters;
    (reporters.failing, reporters.slow)
}

#[test]
fn one_sick_instance_opens_nothing() {
    for trip in ["3", "3/10s", "50%/10s:min=3", "50%/10calls:min=3"] {
        let mut key = Key::new(&format!("{trip}:reporters=2"));
        assert_eq!(key.run_from("af af af af"), "cccc", "{trip}");
        assert_eq!(seen(&key), (1, 0), "{trip}");
        assert_eq!(key.run_from("bf"), "o", "{trip}");
        assert_eq!(seen(&key), (2, 0), "{trip}");
    }
}

#[test]
fn reports_without_a_name_are_of_one_reporter() {
    let mut key = Key::new("2:reporters=2");
    assert_eq!(key.run_from("-f -f -f af"), "ccco");
    let mut key = Key::new("2:reporters=3");
    assert_eq!(key.run_from("-f af -f bf"), "ccco");
}

#[test]
fn a_success_ends_the_run_and_its_reporters() {
    let mut key = Key::new("2:reporters=2");
    assert_eq!(key.run_from("af bs bf bf as af"), "cccccc");
    assert_eq!(seen(&key), (1, 0));
    assert_eq!(key.run_from("bf"), "o");
}

#[test]
fn what_left_the_window_has_no_reporter() {
    let mut key = Key::new("2/16s:reporters=2");
    key.run_from("af");
    key.wait_ms(15_999);
    key.run_from("bf bf");
    assert_eq!(key.state(), CircuitState::Open);
    let mut key = Key::new("2/16s:reporters=2");
    key.run_from("af");
    key.wait_ms(16_000);
    assert_eq!(seen(&key), (0, 0));
    assert_eq!(key.run_from("bf bf"), "cc");
    assert_eq!(seen(&key), (1, 0));
    // Of the last calls: the failure of a is the fourth before.
    let mut key = Key::new("50%/4calls:min=4:reporters=2");
    assert_eq!(key.run_from("af bs bs bs bf bf"), "cccccc");
    assert_eq!(seen(&key), (1, 0));
    assert_eq!(key.run_from("af"), "o");
}

/// Slow calls are asked for their own reporters, and failures for theirs.
#[test]
fn slow_calls_and_failures_have_reporters_of_their_own() {
    for window in ["10s", "9calls"] {
        let text = format!("100%/{window}:min=2:slow=1s:slowrate=50%:reporters=2");
        let mut key = Key::new(&text);
        assert_eq!(key.run_from("al bf al"), "ccc");
        assert_eq!(seen(&key), (1, 1));
        // Two of four are slow, of two reporters.
        assert_eq!(key.run_from("bl"), "o");
        // A call may be both.
        let mut key = Key::new(&text);
        assert_eq!(key.run_from("aL bL"), "co");
    }
}

#[test]
fn half_open_verdicts_ask_nobody() {
    for trip in ["2", "50%/10calls:min=2"] {
        let mut key = Key::new(&format!("{trip}:reporters=2:open=1s"));
        key.run_from("af bf");
        key.wait_ms(1000);
        let trial = key.admit();
        let report = Report {
            reporter: Reporter::named(b"a").unwrap(),
            ..Report::new(ReportOutcome::Fail, Some(trial), None)
        };
        assert_eq!(key.circuit.report(&key.breaker, key.now, &report).state, CircuitState::Open);
        // A good one closes, and nobody has failed then.
        key.wait_ms(1000);
        let trial = key.admit();
        assert!(key.ok(trial));
        assert_eq!((key.state(), seen(&key)), (CircuitState::Closed, (0, 0)));
        assert_eq!(key.run_from("af af"), "cc");
    }
}

/// Reporters are told apart from when the breaker in force asks for it; those before
/// are one, who is the one without a name.
#[test]
fn who_was_before_is_one() {
    for trip in ["2", "9/10s", "90%/10s:min=9", "90%/20calls:min=19"] {
        let mut key = Key::new(trip);
        key.run_from("as");
        if trip == "2" {
            key.run_from("af");
        } else {
            key.run_from("af bf cf");
        }
        assert_eq!(seen(&key), (1, 0), "{trip}");
        assert!(!key.circuit.tells_reporters());
        key.change(&format!("{trip}:reporters=3"));
        assert_eq!(seen(&key), (1, 0), "{trip}");
        assert!(key.circuit.tells_reporters());
        key.run_from("-f");
        assert_eq!(seen(&key), (1, 0), "{trip}");
        key.run_from("bf");
        assert_eq!(seen(&key), (2, 0), "{trip}");
        // They stay told apart while another breaker is in force.
        key.change(trip);
        if trip != "2" {
            key.run_from("cf");
            assert_eq!(seen(&key), (3, 0), "{trip}");
        }
    }
    // Slow calls too.
    let mut key = Key::new("90%/10s:min=9:slow=1s");
    key.run_from("al bl");
    key.change("90%/10s:min=9:slow=1s:reporters=2");
    assert_eq!(seen(&key), (0, 1));
    key.run_from("al");
    assert_eq!(seen(&key), (0, 2));
    // Slow calls that are counted later.
    let mut key = Key::new("90%/10s:min=9:reporters=2");
    key.run_from("af");
    key.change("90%/10s:min=9:reporters=2:slow=1s");
    key.run_from("bl");
    assert_eq!(seen(&key), (1, 1));
}

/// The number of reporters is part of the trip: who brings another one is judged by it.
#[test]
fn another_number_of_reporters_is_another_trip() {
    let mut key = Key::new("2/10s:reporters=3");
    key.run_from("af bf");
    let fewer = breaker("2/10s:reporters=2");
    let peeked = key.circuit.peek_acquire_under(&key.breaker, &fewer, key.now);
    assert_eq!((peeked.allowed, peeked.state, peeked.adopted), (false, CircuitState::Open, true));
    let more = breaker("2/10s:reporters=4");
    assert!(key.circuit.peek_acquire_under(&key.breaker, &more, key.now).allowed);
    assert!(!fewer.judges_like(&more) && fewer.judges_like(&breaker("2/10s:reporters=2:open=1s")));
}

/// A hostile reporter with as many names as it likes takes no more room.
#[test]
fn many_names_take_no_more_room() {
    for text in ["1000000/10s:reporters=8", "1000000:reporters=2", "100%/1000calls:slow=1s:reporters=8"] {
        let mut key = Key::new(text);
        let before = key.circuit.heap_bytes();
        assert!(before <= 1_000, "{text}: {before}");
        for n in 0..1_000_u32 {
            let reporter = Reporter::named(&n.to_le_bytes()).unwrap();
            let report = Report { reporter, ..Report::new(ReportOutcome::Fail, None, Some(5_000_000)) };
            key.circuit.report(&key.breaker, key.now, &report);
            if n == 500 {
                assert_eq!(seen(&key).0, 8);
            }
        }
        assert_eq!(key.circuit.heap_bytes(), before);
        let mut bytes = Vec::new();
        key.circuit.write(&mut bytes);
        assert!(bytes.len() < 1_000, "{text}: {}", bytes.len());
    }
    // Who asks for none pays for none.
    assert!(
        Key::new("5/10s").circuit.heap_bytes() + 200 < Key::new("5/10s:reporters=2").circuit.heap_bytes()
    );
}

/// A call in a plain list: when, by whom, whether it failed, whether it was slow.
type Called = (u64, u8, bool, bool);

/// Different reporters of those that are `what`.
fn different(calls: &[Called], what: impl Fn(&Called) -> bool) -> usize {
    let mut all: Vec<u8> = calls.iter().filter(|call| what(call)).map(|call| call.1).collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

/// What of the list the window of this trip holds at `now`.
fn held(trip: usize, calls: &[Called], now: u64) -> Vec<Called> {
    match trip {
        0 => calls.iter().rev().take_while(|call| call.2).copied().collect(),
        1 | 2 => calls.iter().filter(|call| now / 100_000 - call.0 / 100_000 < 16).copied().collect(),
        _ => calls.iter().rev().take(20).copied().collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, ..ProptestConfig::default() })]

    /// Up to twelve reporters on a breaker of each kind: it opens at the very report at
    /// which the list says so.
    #[test]
    fn a_plain_list_says_the_same(
        trip in 0..4usize,
        asked in 1u8..=8,
        calls in prop::collection::vec(
            (prop_oneof![3 => 0u64..20, 2 => 20u64..300, 1 => 300u64..2_000], 0u8..12, 0u8..8),
            1..160,
        ),
    ) {
        let trips = ["6", "6/1600ms", "60%/1600ms:min=5:slow=1s:slowrate=70%", "60%/20calls:min=5:slow=1s:slowrate=70%"];
        let rule = breaker(&format!("{}:reporters={asked}", trips[trip]));
        let mut circuit = Circuit::new(&rule, START, 0);
        let mut list: Vec<Called> = Vec::new();
        let mut now = START;
        for (gap_ms, by, how) in calls {
            now = now.plus(gap_ms * 1000);
            let (failed, slow) = ([true, true, true, true, false, true, false, false][usize::from(how)], how >= 5);
            let reporter = Reporter::named(&[b'a' + by]).unwrap();
            let outcome = if failed { ReportOutcome::Fail } else { ReportOutcome::Ok };
            let report = Report { reporter, ..Report::new(outcome, None, slow.then_some(2_000_000)) };
            let state = circuit.report(&rule, now, &report).state;
            list.push((now.0, by, failed, slow));
            let held = held(trip, &list, now.0);
            let (failing, slowing) = (different(&held, |c| c.2), different(&held, |c| c.3));
            let (failures, slows) = (held.iter().filter(|c| c.2).count(), held.iter().filter(|c| c.3).count());
            let opens = match trip {
                0 | 1 => failed && failures >= 6 && failing >= asked.into(),
                _ => {
                    (failed || slow) && held.len() >= 5
                        && (failures * 100 >= held.len() * 60 && failing >= asked.into()
                            || slows * 100 >= held.len() * 70 && slowing >= asked.into())
                }
            };
            prop_assert_eq!(state, if opens { CircuitState::Open } else { CircuitState::Closed });
            // Whoever looks later sees what is left of it.
            for later_ms in [0, 700, 1_600] {
                let later = now.plus(later_ms * 1000);
                let held = self::held(trip, &list, later.0);
                let seen = circuit.view(&rule, later).reporters;
                if asked > 1 {
                    let slowing = if trip < 2 { 0 } else { different(&held, |c| c.3).min(8) };
                    prop_assert_eq!(usize::from(seen.failing), different(&held, |c| c.2).min(8));
                    prop_assert_eq!(usize::from(seen.slow), slowing);
                }
            }
            if opens {
                break;
            }
        }
        // A clock in the far past or future asks for nothing that is not there.
        circuit.view(&rule, Micros(0));
        circuit.view(&rule, Micros::MAX);
    }
}

/// The hash is FNV-1a: these are its published values.
#[test]
fn names_are_hashed_as_published() {
    let bits = |name: &[u8]| Reporter::named(name).map(Reporter::bits);
    assert_eq!(bits(b"a"), Some(0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964));
    assert_eq!(bits(b"foobar"), Some(0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18));
    assert_eq!(bits(b""), None);
    assert_eq!(bits(&[b'x'; REPORTER_BYTES + 1]), None);
    assert!(bits(&[0; REPORTER_BYTES]).is_some());
}
