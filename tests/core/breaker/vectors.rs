//! Every vector of the notes on other breakers, with our outcome.

use super::key::Key;
use floodgate::core::breaker::{CircuitState, Force, ReportOutcome};

#[test]
fn r1_a_success_never_trips() {
    let mut key = Key::new("50%/10calls:min=4");
    assert_eq!(key.run("ffsf"), "ccco");
}

#[test]
fn r2_admits_at_the_deadline() {
    let mut key = Key::new("1:open=1000ms");
    key.run("f");
    key.wait_ms(999);
    assert_eq!(key.deny(), 1);
    key.wait_ms(1);
    key.admit();
    assert_eq!(key.state(), CircuitState::HalfOpen);
}

#[test]
fn r3_late_results_change_no_window() {
    let mut key = Key::new("50%/4calls:min=4");
    let calls: Vec<_> = (0..7).map(|_| key.admit()).collect();
    for &call in &calls[..4] {
        assert!(key.fail(call));
    }
    assert_eq!(key.state(), CircuitState::Open);
    let before = key.circuit.clone();
    for &call in &calls[4..] {
        assert!(!key.ok(call));
    }
    assert_eq!(key.circuit, before);
}

#[test]
fn r4_ten_trials_and_stale_results() {
    let mut key = Key::new("50%/4calls:min=4:probes=10:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    for _ in 0..10 {
        key.admit();
    }
    assert_eq!(key.deny(), 60_000);
    for _ in 0..10 {
        assert!(!key.ok(early));
        assert!(!key.fail(early));
    }
    assert_eq!(key.state(), CircuitState::HalfOpen);
}

#[test]
fn r5_stale_successes_do_not_close() {
    let mut key = Key::new("50%/4calls:min=4:probes=2:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    let trial = key.admit();
    assert!(key.report(ReportOutcome::Ignore, Some(trial), None).applied);
    assert!(!key.ok(early));
    assert!(!key.ok(early));
    assert!(!key.report(ReportOutcome::Ok, None, None).applied);
    assert_eq!(key.state(), CircuitState::HalfOpen);
}

#[test]
fn r6_stray_releases_admit_no_more() {
    let mut key = Key::new("50%/4calls:min=4:probes=2:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    let first = key.admit();
    key.admit();
    for permit in [Some(early), None, Some(early), None, Some(early)] {
        assert!(!key.report(ReportOutcome::Ignore, permit, None).applied);
    }
    key.deny();
    // A trial that is given back makes room once, not twice.
    assert!(key.report(ReportOutcome::Ignore, Some(first), None).applied);
    assert!(!key.report(ReportOutcome::Ignore, Some(first), None).applied);
    key.admit();
    key.deny();
}

#[test]
fn r8_slow_is_longer_than() {
    let mut key = Key::new("100%/4calls:min=1:slow=100ms:slowrate=50%");
    key.report(ReportOutcome::Ok, None, Some(100));
    assert_eq!(key.view().window.slow, 0);
    assert_eq!(key.report(ReportOutcome::Ok, None, Some(101)).state, CircuitState::Open);
    assert_eq!(key.view().window.slow, 1);
}

#[test]
fn r11_back_off_doubles_until_a_close() {
    let mut key = Key::new("1:open=1s:backoff=2");
    key.run("f");
    for seconds in [1, 2, 4, 8] {
        assert_eq!(key.deny(), seconds * 1000);
        key.wait_ms(seconds.unsigned_abs() * 1000 - 1);
        assert_eq!(key.deny(), 1);
        key.wait_ms(1);
        let trial = key.admit();
        assert!(key.fail(trial));
    }
    key.wait_ms(16_000);
    let trial = key.admit();
    key.ok(trial);
    assert_eq!(key.run("f"), "o");
    assert_eq!(key.deny(), 1000);
}

#[test]
fn r12_a_force_repeated_counts_from_the_second() {
    let mut key = Key::new("1");
    key.force(Force::Open, Some(2000));
    key.wait_ms(500);
    let change = key.force(Force::Open, Some(2001));
    assert!(change.changed && change.transitions.list().is_empty());
    assert_eq!(key.deny(), 2001);
}

#[test]
fn p1_a_success_completes_min_without_tripping() {
    assert_eq!(Key::new("50%/10s:min=4").run("fffs"), "cccc");
}

#[test]
fn p2_a_period_forgets() {
    let mut key = Key::new("50%/10s:min=4");
    key.run("ssf");
    key.wait_ms(10_000);
    assert_eq!(key.run("f"), "c");
    assert_eq!(key.view().window.calls, 1);
}

#[test]
fn p7_one_trial_at_a_time() {
    let mut key = Key::new("1:open=1s:lease=5s");
    key.run("f");
    key.wait_ms(1000);
    key.admit();
    assert_eq!(key.deny(), 5000);
}

#[test]
fn p9_a_late_failure_while_open_changes_nothing() {
    let mut key = Key::new("1:open=10s");
    let (first, second) = (key.admit(), key.admit());
    key.fail(first);
    key.wait_ms(9000);
    let before = key.circuit.clone();
    assert!(!key.fail(second));
    assert_eq!(key.circuit, before);
    assert_eq!(key.deny(), 1000);
}
