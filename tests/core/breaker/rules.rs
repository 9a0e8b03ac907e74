//! The rules one by one.

use super::key::{Key, START, breaker};
use floodgate::core::breaker::{Cause, Circuit, CircuitState, Force, Permit, ReportOutcome};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;

#[test]
fn consecutive_counts_failures_in_a_row() {
    let mut key = Key::new("3");
    assert_eq!(key.run("ffsffif"), "cccccco");
    assert_eq!(key.view().window.failures, 3);
}

#[test]
fn count_slides_by_sixteenths() {
    let mut key = Key::new("3/16s");
    key.run("ff");
    key.wait_ms(15_999);
    assert_eq!(key.view().window.failures, 2);
    key.wait_ms(1);
    assert_eq!(key.view().window.failures, 0);
    assert_eq!(key.run("fsf"), "ccc");
    key.wait_ms(15_000);
    assert_eq!(key.run("f"), "o");
}

#[test]
fn rate_over_a_period_holds_from_min_on_inclusive() {
    assert_eq!(Key::new("50%/60s:min=4").run("fff"), "ccc");
    assert_eq!(Key::new("50%/60s:min=4").run("sfsf"), "ccco");
    assert_eq!(Key::new("50%/60s:min=5").run("ssfff"), "cccco");
    assert_eq!(Key::new("50.01%/60s:min=4").run("ssfffss"), "cccc".to_owned() + "ooo");
    assert_eq!(Key::new("60.01%/60s:min=4").run("ssfff"), "ccccc");
    let mut key = Key::new("50%/60s");
    assert_eq!(key.run(&"f".repeat(20)), "c".repeat(19) + "o");
}

#[test]
fn rate_over_calls_forgets_the_oldest() {
    let mut key = Key::new("50%/4calls");
    assert_eq!(key.run("fssssfsf"), "ccccccco");
    let mut key = Key::new("100%/1000calls");
    key.run(&"s".repeat(1000));
    assert_eq!(key.run(&"f".repeat(1000)), "c".repeat(999) + "o");
}

#[test]
fn slow_calls_have_their_own_rate() {
    let mut key = Key::new("50%/60s:min=4:slow=1s:slowrate=75%");
    assert_eq!(key.run("lls"), "ccc");
    let last = key.report(ReportOutcome::Ok, None, Some(2000));
    assert_eq!(last.state, CircuitState::Open);
    assert_eq!(last.transitions.list().first().unwrap().cause, Cause::SlowCalls);
    // A slow call evaluates the failure rate too.
    assert_eq!(Key::new("50%/60s:min=4:slow=1s").run("ffsl"), "ccco");
    // A slow failure counts as both.
    let mut key = Key::new("50%/60s:slow=1s");
    key.run("Lls");
    let view = key.view();
    assert_eq!((view.window.calls, view.window.failures, view.window.slow), (3, 1, 2));
    assert_eq!((view.failure_rate.hundredths(), view.slow_rate.hundredths()), (3333, 6666));
}

#[test]
fn a_closed_acquire_changes_nothing() {
    let mut key = Key::new("50%/60s");
    key.run("sf");
    let before = key.circuit.clone();
    key.wait_ms(100_000);
    assert!(!key.acquire().changed);
    assert_eq!(key.circuit, before);
}

#[test]
fn back_off_has_a_cap_and_decimals() {
    let mut key = Key::new("1:open=1s:backoff=1.5:maxopen=3s");
    key.run("f");
    for ms in [1000, 1500, 2250, 3000, 3000] {
        assert_eq!(key.deny(), ms);
        key.wait_ms(ms.unsigned_abs());
        assert_eq!(key.state(), CircuitState::HalfOpen);
        let trial = key.admit();
        key.fail(trial);
    }
    assert_eq!((key.view().openings, key.view().next_open_us), (6, 3_000_000));
    // The cap holds for any number of openings, at once.
    let longest = breaker("1:open=1ms:backoff=1.01:maxopen=366d");
    assert_eq!(longest.open_time_us(u32::MAX), 366 * 86_400_000_000);
    assert_eq!(breaker("1:open=1ms").open_time_us(u32::MAX), 1000);
    assert_eq!(breaker("1:open=2h:backoff=2").open_time_us(9), 7_200_000_000);
}

/// A half-open key and its first trials.
fn half_open(text: &str, trials: usize) -> (Key, Vec<Permit>) {
    let mut key = Key::new(text);
    key.run("ffff");
    key.wait_ms(1000);
    let permits = (0..trials).map(|_| key.admit()).collect();
    (key, permits)
}

#[test]
fn verdicts_of_rate_trips_come_as_soon_as_they_are_certain() {
    let text = "50%/4calls:open=1s:probes=4";
    for (results, states) in
        [("sss", "hhc"), ("ff", "ho"), ("fsf", "hho"), ("fsss", "hhhc"), ("ssf", "hhh"), ("ssff", "hhho")]
    {
        let (mut key, trials) = half_open(text, 4);
        let seen: String = results
            .chars()
            .zip(&trials)
            .map(|(result, &trial)| {
                assert!(if result == 's' { key.ok(trial) } else { key.fail(trial) });
                key.circuit.state().name().chars().next().unwrap()
            })
            .collect();
        assert_eq!(seen, states, "{results}");
    }
}

#[test]
fn verdicts_look_at_slow_trials() {
    let text = "100%/4calls:open=1s:probes=2:slow=1s:slowrate=50%";
    let (mut key, trials) = half_open(text, 2);
    let reported = key.report(ReportOutcome::Ok, Some(trials[0]), Some(1001));
    assert_eq!(reported.transitions.list().first().unwrap().cause, Cause::TrialsSlow);
    // A lost trial is a failure but not slow: here that closes.
    let (mut key, trials) = half_open(text, 2);
    assert!(key.ok(trials[0]));
    key.wait_ms(60_000);
    assert!(!key.ok(trials[1]));
    assert_eq!(key.state(), CircuitState::Closed);
}

#[test]
fn other_trips_open_on_any_failed_trial_and_close_when_all_succeed() {
    for text in ["1:open=1s:probes=3", "1/60s:open=1s:probes=3"] {
        let (mut key, trials) = half_open(text, 3);
        assert!(key.ok(trials[2]) && key.ok(trials[0]));
        assert_eq!(key.state(), CircuitState::HalfOpen);
        assert!(key.ok(trials[1]));
        assert_eq!(key.state(), CircuitState::Closed);
        assert_eq!(key.view().window.calls, 0);
        let (mut key, trials) = half_open(text, 3);
        assert!(key.ok(trials[0]) && key.fail(trials[1]));
        assert_eq!(key.circuit.state(), CircuitState::Open);
        assert!(!key.ok(trials[2]));
    }
}

#[test]
fn a_trial_counts_once() {
    let (mut key, trials) = half_open("50%/4calls:open=1s:probes=4", 4);
    assert!(key.ok(trials[0]));
    assert!(!key.ok(trials[0]));
    assert!(!key.fail(trials[0]));
    assert!(!key.ok(Permit::Trial { epoch: key.circuit.epoch(), trial: 5 }));
    assert!(!key.ok(Permit::Closed { epoch: key.circuit.epoch() }));
    assert_eq!(key.view().trials_in_flight, 3);
}

#[test]
fn a_lost_trial_opens_from_the_end_of_its_lease() {
    let (mut key, trials) = half_open("1:open=1s:lease=5s", 1);
    key.wait_ms(4999);
    assert_eq!(key.deny(), 1);
    key.wait_ms(1);
    // At that moment it is lost, not a moment later.
    let view = key.view();
    assert_eq!((view.state, view.since, view.trials_in_flight), (CircuitState::Open, key.now, 0));
    let lost = key.now;
    key.wait_ms(400);
    let reported = key.report(ReportOutcome::Ok, Some(trials[0]), None);
    assert!(!reported.applied && reported.changed);
    let transition = reported.transitions.list().first().unwrap();
    assert_eq!(
        (transition.at, transition.cause, transition.to),
        (lost, Cause::TrialLost, CircuitState::Open)
    );
    assert_eq!(key.deny(), 600);
}

#[test]
fn a_call_long_after_a_lost_trial_finds_both_transitions() {
    let (mut key, _) = half_open("1:open=1s:lease=5s", 1);
    key.wait_ms(60_000);
    let admission = key.acquire();
    assert!(admission.allowed);
    let steps: Vec<_> = admission.transitions.list().iter().map(|t| (t.from, t.to, t.cause)).collect();
    assert_eq!(
        steps,
        [
            (CircuitState::HalfOpen, CircuitState::Open, Cause::TrialLost),
            (CircuitState::Open, CircuitState::HalfOpen, Cause::DeadlinePassed)
        ]
    );
}

#[test]
fn a_lost_trial_of_a_rate_trip_is_one_failure_of_the_round() {
    let (mut key, trials) = half_open("50%/4calls:open=1s:probes=4:lease=5s", 1);
    key.wait_ms(1000);
    let rest: Vec<_> = (0..3).map(|_| key.admit()).collect();
    key.wait_ms(4000);
    assert_eq!(key.deny(), 1000); // the first is lost; the others have a second left
    assert!(!key.ok(trials[0]));
    assert!(rest.iter().all(|&trial| key.ok(trial)));
    assert_eq!(key.state(), CircuitState::Closed);
}

#[test]
fn state_says_half_open_past_the_deadline_without_changing() {
    let mut key = Key::new("1:open=1s");
    key.run("f");
    key.wait_ms(5000);
    let before = key.circuit.clone();
    let view = key.view();
    assert_eq!(
        (view.state, view.retry, view.since),
        (CircuitState::HalfOpen, RetryAfter::Now, START.plus(1_000_000))
    );
    assert_eq!(key.circuit, before);
    assert_eq!(key.circuit.state(), CircuitState::Open);
}

#[test]
fn a_ramp_admits_a_growing_share() {
    let (mut key, trials) = half_open("1:open=1s:ramp=10s", 1);
    key.ok(trials[0]);
    assert_eq!(key.deny(), 1);
    let (mut admitted, mut line) = (0u64, 0u64);
    for ms in (7..10_000u64).step_by(7) {
        key.now = START.plus((1000 + ms) * 1000);
        line += ms;
        let admission = key.acquire();
        assert!(admission.changed);
        assert_eq!(admission.retry.millis(), i64::from(!admission.allowed));
        admitted += u64::from(admission.allowed);
        assert!((admitted * 10_000).abs_diff(line) <= 10_000, "{admitted} admitted, {line} on the line");
    }
    key.now = START.plus(11_000_000);
    assert!(key.acquire().changed); // the ramp ends
    assert!(!key.acquire().changed);
}

#[test]
fn a_ramp_judges_results_as_ever() {
    let (mut key, trials) = half_open("1:open=1s:ramp=10s", 1);
    key.ok(trials[0]);
    key.wait_ms(9000);
    let call = key.admit();
    assert!(key.fail(call));
    assert_eq!(key.circuit.state(), CircuitState::Open);
}

#[test]
fn forces_hold_until_they_end() {
    let mut key = Key::new("1:open=1s");
    let early = key.admit();
    key.force(Force::Open, None);
    assert_eq!(key.deny(), -1);
    assert!(!key.ok(early));
    assert!(!key.report(ReportOutcome::Ok, None, None).applied);
    assert_eq!(&*key.view().forced.unwrap().reason, b"because");
    key.force(Force::Closed, Some(5000));
    let call = key.admit();
    assert_eq!(key.run("fff"), "fff");
    assert_eq!(key.view().window.failures, 3);
    assert!(key.fail(call));
    key.wait_ms(5000);
    let admission = key.acquire();
    let ended = admission.transitions.list().first().unwrap();
    assert_eq!((ended.to, ended.cause, ended.at), (CircuitState::Closed, Cause::ForceEnded, key.now));
    assert_eq!(key.view().window.failures, 0);
    assert!(!key.fail(call));
    key.force(Force::Open, None);
    assert_eq!(key.force(Force::Auto, None).state, CircuitState::Closed);
    assert!(!key.force(Force::Auto, None).changed);
}

#[test]
fn a_result_can_find_the_end_of_a_force_and_trip() {
    let mut key = Key::new("1:open=1s");
    key.force(Force::Closed, Some(1000));
    key.wait_ms(2000);
    let reported = key.report(ReportOutcome::Fail, None, None);
    let causes: Vec<_> = reported.transitions.list().iter().map(|t| t.cause).collect();
    assert_eq!(causes, [Cause::ForceEnded, Cause::Failures]);
}

#[test]
fn a_reset_begins_again() {
    let mut key = Key::new("2:open=1s:backoff=2");
    let early = key.admit();
    key.run("ff");
    let change = key.circuit.reset(&key.breaker, key.now);
    assert_eq!(change.transitions.list().first().unwrap().cause, Cause::Reset);
    assert!(!key.fail(early));
    assert_eq!(key.run("f"), "c");
    let change = key.circuit.reset(&key.breaker, key.now);
    assert!(change.changed && change.transitions.list().is_empty());
    assert_eq!(key.run("f"), "c");
}

#[test]
fn epochs_do_not_repeat_after_a_deletion() {
    let mut key = Key::new("1:open=1s");
    let early = key.admit();
    key.run("f");
    let last = key.circuit.epoch();
    // In the same microsecond, with the help of the caller.
    key.circuit = Circuit::new(&key.breaker, key.now, last + 1);
    assert!(!key.fail(early));
    assert!(key.circuit.epoch() > last);
    // A microsecond or more later, without.
    let (last, early) = (key.circuit.epoch(), key.admit());
    key.wait_ms(1);
    key.circuit = Circuit::new(&key.breaker, key.now, 0);
    assert!(key.circuit.epoch() > last);
    assert!(!key.fail(early));
}

#[test]
fn a_changed_breaker_keeps_state_deadline_and_window() {
    let mut key = Key::new("50%/60s:min=4");
    key.run("sff");
    assert!(key.change("50%/60s:min=4:open=1s:slow=1s").changed);
    assert_eq!((key.view().window.calls, key.view().window.failures), (3, 2));
    assert!(!key.change("50%/60s:min=4:open=1s:slow=1s").changed);
    // The results belong to the kind of window: another trip finds them.
    key.change("4/60s");
    assert_eq!((key.view().window.calls, key.run("f")), (3, "c".into()));
    // Another kind begins to record when it is named first.
    key.change("5:open=1s");
    assert_eq!((key.view().window.calls, key.run("f")), (0, "c".into()));
    key.change("4/60s");
    assert_eq!(key.view().window.failures, 4);
    // A call judges it first.
    assert_eq!(key.deny(), 60_000);
    key.change("5:open=1s");
    assert_eq!(key.deny(), 60_000);
}

#[test]
fn fewer_probes_can_decide_a_round() {
    let (mut key, trials) = half_open("1:open=1s:probes=4", 3);
    assert!(key.ok(trials[0]) && key.ok(trials[1]));
    let change = key.change("1:open=1s:probes=2");
    assert_eq!((change.state, change.changed), (CircuitState::Closed, true));
    assert!(!key.fail(trials[2]));
}

#[test]
fn a_clock_that_steps_back_holds_nothing_longer() {
    let mut key = Key::new("1:open=10s:lease=5s:ramp=20s");
    key.run("f");
    key.back_ms(3_600_000);
    assert_eq!(key.deny(), 10_000);
    key.wait_ms(10_000);
    let trial = key.admit();
    key.back_ms(3_600_000);
    assert_eq!(key.deny(), 5000);
    key.wait_ms(4999);
    assert!(key.ok(trial));
    key.back_ms(3_600_000);
    key.deny();
    key.wait_ms(20_000);
    key.admit();
    key.force(Force::Open, Some(1000));
    key.back_ms(3_600_000);
    assert_eq!(key.deny(), 1000);
    key.wait_ms(1000);
    key.admit();
}

#[test]
fn a_window_survives_small_steps_back_and_forgets_what_lies_farther_than_a_period() {
    let mut key = Key::new("4/16s");
    key.run("ff");
    key.back_ms(10_000);
    assert_eq!(key.run("f"), "c");
    assert_eq!(key.view().window.failures, 3);
    key.back_ms(3_600_000);
    assert_eq!(key.view().window.failures, 0);
    // Nothing has recorded it yet.
    key.wait_ms(3_600_000);
    assert_eq!(key.view().window.failures, 3);
    key.back_ms(3_600_000);
    key.admit();
    key.wait_ms(3_600_000);
    assert_eq!(key.view().window.failures, 0);
}

#[test]
fn the_key_lives_as_long_as_it_matters() {
    let at = |key: &Key| key.circuit.expires_at(&key.breaker, key.now);
    let mut key = Key::new("1:open=10s:lease=5s:idle=1m");
    assert_eq!(at(&key), Some(START.plus(60_000_000)));
    key.wait_ms(1000);
    key.admit();
    assert_eq!(at(&key), Some(START.plus(60_000_000)));
    key.run("s");
    assert_eq!(at(&key), Some(START.plus(61_000_000)));
    key.change("1:open=10s:lease=5s:idle=1ms");
    key.run("f");
    assert!(at(&key) >= Some(key.now.plus(10_000_000)));
    key.wait_ms(10_000);
    key.admit();
    assert!(at(&key) >= Some(key.now.plus(15_000_000)));
    key.force(Force::Closed, Some(90_000));
    assert_eq!(at(&key), Some(key.now.plus(90_000_000)));
    key.force(Force::Closed, None);
    assert_eq!(at(&key), None);
}

#[test]
fn a_usual_circuit_is_small() {
    let bytes = |text: &str| size_of::<Circuit>() + Key::new(text).circuit.heap_bytes();
    assert!(bytes("50%/60s") <= 224, "{}", bytes("50%/60s"));
    assert!(bytes("5") <= 90, "{}", bytes("5"));
    assert!(bytes("50%/100calls") <= 150, "{}", bytes("50%/100calls"));
    assert!(bytes("50%/1000calls:slow=1s") <= 400, "{}", bytes("50%/1000calls:slow=1s"));
}

#[test]
fn the_ends_of_time_do_no_harm() {
    for now in [Micros(0), Micros::MAX, Micros(u64::MAX)] {
        let mut key = Key::new("1:open=366d:lease=366d:ramp=366d:idle=366d");
        for then in [now, START, now, Micros(0), now] {
            key.now = then;
            key.run("f");
            key.acquire();
            key.view();
            key.circuit.expires_at(&key.breaker, key.now);
            key.force(Force::Open, Some(u64::MAX / 1000));
            key.force(Force::Auto, None);
        }
    }
}
