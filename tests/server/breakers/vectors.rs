//! Every vector of the notes on other breakers, with our outcome: R of resilience4j, P of Polly.

use crate::breakers::fixtures::Key;
use crate::harness::Server;

/// A success never trips.
#[test]
fn r1_a_success_never_trips() {
    let server = Server::at_t0();
    assert_eq!(Key::new(&server, "r1", "50%/10calls:min=4").run("ffsf"), "ccco");
}

/// Admits at the deadline, not after it.
#[test]
fn r2_admits_at_the_deadline() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r2", "1:open=1000ms");
    key.run("f");
    key.wait_ms(999);
    assert_eq!(key.deny(), 1);
    key.wait_ms(1);
    assert!(key.admit().starts_with("t-"));
    assert_eq!(key.state(), "half-open");
}

/// Late results change nothing.
#[test]
fn r3_late_results_change_nothing() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r3", "50%/4calls:min=4");
    let calls: Vec<_> = (0..7).map(|_| key.admit()).collect();
    assert!(calls[..4].iter().all(|call| key.fail(call)));
    assert_eq!(key.state(), "open");
    let before = key.digest();
    assert!(!calls[4..].iter().any(|call| key.ok(call)));
    assert_eq!(key.digest(), before);
}

/// Ten trials, no eleventh, and results of an earlier epoch are stale.
#[test]
fn r4_ten_trials_and_stale_results() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r4", "50%/4calls:min=4:probes=10:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    for _ in 0..10 {
        key.admit();
    }
    assert_eq!(key.deny(), 60_000);
    for _ in 0..10 {
        assert!(!key.ok(&early) && !key.fail(&early));
    }
    assert_eq!((key.state().as_str(), key.number("trials_in_flight")), ("half-open", 10));
}

/// Stale successes do not close.
#[test]
fn r5_stale_successes_do_not_close() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r5", "50%/4calls:min=4:probes=2:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    let trial = key.admit();
    assert!(key.settle("IGNORE", &trial));
    assert!(!key.ok(&early) && !key.ok(&early));
    assert_eq!(key.report(&["OK"]), (false, "half-open".into()));
    assert_eq!(key.number("trials_in_flight"), 0);
}

/// Stray releases admit no more.
#[test]
fn r6_stray_releases_admit_no_more() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r6", "50%/4calls:min=4:probes=2:open=1s");
    let early = key.admit();
    key.run("ffff");
    key.wait_ms(1000);
    let first = key.admit();
    key.admit();
    for stray in [Some(&early), None, Some(&early), None, Some(&early)] {
        let counted = match stray {
            Some(token) => key.settle("IGNORE", token),
            None => key.report(&["IGNORE"]).0,
        };
        assert!(!counted);
    }
    key.deny();
    // A trial that is given back makes room once, not twice.
    assert!(key.settle("IGNORE", &first) && !key.settle("IGNORE", &first));
    key.admit();
    key.deny();
}

/// Slow is longer than, not as long as.
#[test]
fn r8_slow_is_longer_than() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r8", "100%/4calls:min=1:slow=100ms:slowrate=50%");
    assert_eq!(key.report(&["OK", "DUR", "100ms"]), (true, "closed".into()));
    assert_eq!(key.number("slow"), 0);
    assert_eq!(key.report(&["OK", "DUR", "101ms"]), (true, "open".into()));
    assert_eq!(key.number("slow"), 1);
}

/// Back-off doubles until a close.
#[test]
fn r11_back_off_doubles_until_a_close() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r11", "1:open=1s:backoff=2");
    key.run("f");
    for seconds in [1, 2, 4, 8] {
        assert_eq!(key.deny(), seconds * 1000);
        key.wait_ms(seconds * 1000 - 1);
        assert_eq!(key.deny(), 1);
        key.wait_ms(1);
        assert!(key.fail(&key.admit()));
    }
    key.wait_ms(16_000);
    assert!(key.ok(&key.admit()));
    assert_eq!(key.run("f"), "o");
    assert_eq!(key.deny(), 1000);
}

/// A force repeated counts from the second.
#[test]
fn r12_a_force_repeated_counts_from_the_second() {
    let server = Server::at_t0();
    let key = Key::new(&server, "r12", "1");
    server.ok("CB.FORCE r12 OPEN FOR 2000ms");
    key.wait_ms(500);
    server.ok("CB.FORCE r12 OPEN FOR 2001ms");
    assert_eq!(key.deny(), 2001);
}

/// A success completes `min` without tripping.
#[test]
fn p1_a_success_completes_min_without_tripping() {
    let server = Server::at_t0();
    assert_eq!(Key::new(&server, "p1", "50%/10s:min=4").run("fffs"), "cccc");
}

/// A period forgets.
#[test]
fn p2_a_period_forgets() {
    let server = Server::at_t0();
    let key = Key::new(&server, "p2", "50%/10s:min=4");
    key.run("ssf");
    key.wait_ms(10_000);
    assert_eq!(key.run("f"), "c");
    assert_eq!((key.number("calls"), key.number("failures")), (1, 1));
}

/// One trial at a time.
#[test]
fn p7_one_trial_at_a_time() {
    let server = Server::at_t0();
    let key = Key::new(&server, "p7", "1:open=1s:lease=5s");
    key.run("f");
    key.wait_ms(1000);
    key.admit();
    assert_eq!(key.deny(), 5000);
}

/// A late failure while open changes nothing.
#[test]
fn p9_a_late_failure_while_open_changes_nothing() {
    let server = Server::at_t0();
    let key = Key::new(&server, "p9", "1:open=10s");
    let (first, second) = (key.admit(), key.admit());
    assert!(key.fail(&first));
    key.wait_ms(9000);
    let before = key.digest();
    assert!(!key.fail(&second));
    assert_eq!((key.digest(), key.deny()), (before, 1000));
}
