//! Several breakers on one key: each client gets the one that it asks for, on
//! all results, and which one holds where a call names none.

use crate::breakers::fixtures::{Key, digest, written};
use crate::harness::{Reply, Server, T0, assert_same_data, wait_synced};

/// `CB.ACQUIRE` with these arguments: whether it admits, and the state.
#[track_caller]
fn acquire(server: &Server, arguments: &str) -> (bool, String) {
    let reply = server.line(&format!("CB.ACQUIRE {arguments}"));
    (reply[0].int() == 1, reply[1].text())
}

/// `CB.REPORT` with these arguments: the state after a result that counted.
#[track_caller]
fn report(server: &Server, arguments: &str) -> String {
    let reply = server.line(&format!("CB.REPORT {arguments}"));
    assert_eq!(reply[0], Reply::Int(1), "{reply:?}");
    reply[1].text()
}

/// What CB.STATE shows: the breaker, where it is from, failures in its window.
fn shown(server: &Server, key: &str) -> (String, String, i64) {
    let state = server.call(&["CB.STATE", key]);
    (state.field("breaker").text(), state.field("source").text(), state.field("failures").int())
}

fn is(breaker: &str, source: &str, failures: i64) -> (String, String, i64) {
    (breaker.into(), source.into(), failures)
}

#[test]
fn a_report_goes_by_the_breaker_that_admitted_the_call_and_not_by_a_policy() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 50%/60s");
    for failures in 1..=2 {
        assert!(acquire(&server, "svc:a 2:open=30s").0);
        assert_eq!(report(&server, "svc:a FAIL"), if failures < 2 { "closed" } else { "open" });
        assert_eq!(shown(&server, "svc:a"), is("2:open=30s", "last", failures));
    }
    let denied = server.line("CB.ACQUIRE svc:a 2:open=30s");
    assert_eq!((denied[0].int(), denied[1].text(), denied[3].int()), (0, "open".into(), 30_000));
    // A key whose breaker came from the policy asks the policy anew.
    assert!(acquire(&server, "svc:b").0);
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 1:open=9s");
    assert_eq!(shown(&server, "svc:b"), is("1:open=9s", "policy", 0));
    assert_eq!(report(&server, "svc:b FAIL"), "open");
    // One whose breaker came from the default does too.
    assert!(acquire(&server, "other").0);
    server.ok("RL.POLICY SET o 10/s PREFIX other BREAKER 2");
    report(&server, "other FAIL");
    assert_eq!(shown(&server, "other"), is("2", "policy", 1));
    // Without a policy a call without a text takes the key's own.
    assert!(acquire(&server, "mine 3").0);
    server.ok("RL.POLICY SET o 10/s PREFIX mine BREAKER 2");
    report(&server, "mine FAIL");
    report(&server, "mine FAIL");
    assert_eq!(shown(&server, "mine"), is("3", "last", 2));
    // The first call that takes the policy's is judged by it.
    assert_eq!(acquire(&server, "mine"), (false, "open".into()));
}

#[test]
fn reports_under_two_thresholds_in_turn_count_together() {
    let server = Server::at_t0();
    for (key, texts) in [
        ("run", ["3", "4"]),
        ("count", ["3/10s", "4/10s"]),
        ("rate", ["60%/10s:min=3", "70%/10s:min=4"]),
        ("calls", ["60%/9calls:min=3", "70%/9calls:min=4"]),
    ] {
        let states: String = (0..3)
            .map(|at| report(&server, &format!("{key} FAIL BREAKER {}", texts[at % 2])).remove(0))
            .collect();
        assert_eq!(states, "cco", "{key}");
    }
}

#[test]
fn three_kinds_on_one_key_each_count_all_results() {
    let server = Server::at_t0();
    let texts = ["4", "4/16s", "50%/20calls:min=6"];
    let name_all = || {
        for text in texts {
            assert_eq!(acquire(&server, &format!("k {text}")), (true, "closed".into()));
        }
    };
    for (at, text) in texts.iter().enumerate() {
        server.line("DEL k");
        name_all();
        name_all();
        // The results come in under another one.
        report(&server, &format!("k OK BREAKER {}", texts[(at + 1) % 3]));
        for _ in 0..3 {
            report(&server, &format!("k FAIL BREAKER {}", texts[(at + 1) % 3]));
        }
        for other in texts {
            assert!(acquire(&server, &format!("k {other}")).0, "{other} before {text}");
        }
        // The fourth failure is enough for the first two, 4 of 5 calls not for the last.
        let trips = report(&server, &format!("k FAIL BREAKER {}", texts[2]));
        assert_eq!(trips, "closed");
        let admitted = acquire(&server, &format!("k {text}"));
        assert_eq!(admitted.0, at == 2, "{text}");
        if at < 2 {
            assert_eq!(server.line("CB.STATE k").field("failures").int(), 4);
        } else {
            report(&server, "k FAIL BREAKER 50%/20calls:min=7");
            assert_eq!(acquire(&server, &format!("k {text}")), (false, "open".into()));
        }
    }
}

#[test]
fn a_fourth_kind_takes_the_place_of_the_one_named_longest_ago() {
    let server = Server::at_t0();
    for text in ["2/1h", "2/2h", "2/3h"] {
        assert!(acquire(&server, &format!("k {text}")).0);
    }
    report(&server, "k FAIL BREAKER 9/3h");
    // 1h is named again, so 2h goes.
    for text in ["9/1h", "9/4h"] {
        assert!(acquire(&server, &format!("k {text}")).0);
    }
    report(&server, "k FAIL");
    assert_eq!(acquire(&server, "k 2/1h"), (false, "open".into()));
    server.line("CB.RESET k");
    server.line("DEL k");
    for text in ["2/1h", "2/2h", "2/3h"] {
        assert!(acquire(&server, &format!("k {text}")).0);
    }
    report(&server, "k FAIL");
    for text in ["9/1h", "9/4h"] {
        assert!(acquire(&server, &format!("k {text}")).0);
    }
    report(&server, "k FAIL");
    assert_eq!(acquire(&server, "k 2/2h"), (true, "closed".into()), "it was forgotten");
}

#[test]
fn of_four_kinds_the_one_named_longest_ago_goes_also_after_it_was_in_force() {
    let server = Server::at_t0();
    assert!(acquire(&server, "k 9/10s").0);
    assert!(acquire(&server, "k 9/20s").0);
    report(&server, "k FAIL");
    assert!(acquire(&server, "k 9/10s").0);
    report(&server, "k FAIL BREAKER 9/30s");
    assert!(acquire(&server, "k 9/20s").0);
    assert!(acquire(&server, "k 9/40s").0);
    // That of 10 s was named before that of 30 s.
    assert!(acquire(&server, "k 9/30s").0);
    assert_eq!(shown(&server, "k"), is("9/30s", "last", 1));
    assert!(acquire(&server, "k 9/20s").0);
    assert_eq!(shown(&server, "k"), is("9/20s", "last", 2));
    assert!(acquire(&server, "k 9/10s").0);
    assert_eq!(shown(&server, "k"), is("9/10s", "last", 0));
    // A breaker that comes in force may take the place of the one before.
    assert!(acquire(&server, "other 9/10s").0);
    report(&server, "other FAIL BREAKER 9/20s");
    report(&server, "other FAIL BREAKER 9/30s");
    assert!(acquire(&server, "other 9/40s").0);
    assert!(acquire(&server, "other 9/20s").0);
    assert_eq!(shown(&server, "other"), is("9/20s", "last", 2));
}

#[test]
fn another_trip_is_judged_when_it_is_brought() {
    let server = Server::at_t0();
    let judged = |first: &str, results: &str, then: &str| {
        server.line("DEL k");
        assert!(acquire(&server, &format!("k {first}")).0);
        for result in results.chars() {
            let how = if result == 'f' { "FAIL" } else { "OK DUR 2s" };
            assert_eq!(report(&server, &format!("k {how}")), "closed");
        }
        acquire(&server, &format!("k {then}")).1
    };
    assert_eq!(judged("5", "fff", "3:open=7s"), "open");
    assert_eq!(server.line("CB.ACQUIRE k")[3].int(), 7000);
    assert_eq!(judged("5", "fff", "4"), "closed");
    assert_eq!(judged("5/1m", "fff", "50%/1m:min=3"), "open");
    assert_eq!(judged("50%/1m:min=9", "sfff", "50%/1m:min=4"), "open");
    assert_eq!(judged("50%/1m:min=9:slow=1s", "sss", "50%/1m:min=3:slow=1s"), "open");
    assert_eq!(
        judged("90%/1m:min=3:slow=1s:slowrate=100%", "fss", "90%/1m:min=3:slow=1s:slowrate=60%"),
        "open"
    );
    // Other options alone are no reason: a success that completed `min` has not tripped.
    assert_eq!(judged("50%/1m:min=3", "ffs", "50%/1m:min=3:open=1s:probes=2"), "closed");
    assert_eq!(report(&server, "k FAIL"), "open");
    // A pin is judged by the first call under it, and so is what holds after it.
    assert_eq!(judged("3", "ff", "3"), "closed");
    server.ok("CB.PIN k 2 FOR 1m");
    assert_eq!(acquire(&server, "k 9"), (false, "open".into()));
    assert_eq!(judged("3", "", "3"), "closed");
    server.ok("CB.PIN k 9");
    report(&server, "k FAIL");
    report(&server, "k FAIL");
    report(&server, "k FAIL BREAKER 1");
    assert_eq!(server.line("CB.UNPIN k"), Reply::Int(1));
    assert_eq!(acquire(&server, "k 3"), (false, "open".into()));
}

#[test]
fn a_success_under_another_breaker_does_not_open_the_one_in_force() {
    let server = Server::at_t0();
    assert!(acquire(&server, "k 50%/10calls:min=4").0);
    for result in ["FAIL", "FAIL", "OK", "OK BREAKER 9"] {
        assert_eq!(report(&server, &format!("k {result}")), "closed");
    }
    assert_eq!(acquire(&server, "k 50%/10calls:min=4"), (true, "closed".into()));
    // A failure does.
    assert_eq!(report(&server, "k FAIL BREAKER 9"), "closed");
    assert_eq!(acquire(&server, "k 50%/10calls:min=4"), (false, "open".into()));
}

#[test]
fn what_is_slow_is_decided_by_the_breaker_of_the_report() {
    let server = Server::at_t0();
    let (fast, slow) = ("50%/1m:min=4", "50%/1m:min=4:slow=1s:slowrate=50%");
    for text in [fast, slow, fast] {
        assert!(acquire(&server, &format!("k {text}")).0);
    }
    // Named without `slow=` between, nothing that was slow is lost.
    report(&server, &format!("k OK DUR 2s BREAKER {slow}"));
    report(&server, &format!("k OK DUR 2s BREAKER {fast}"));
    assert!(acquire(&server, &format!("k {fast}")).0);
    assert!(acquire(&server, &format!("k {slow}")).0);
    report(&server, &format!("k OK DUR 500ms BREAKER {slow}"));
    assert_eq!(server.line("CB.STATE k").field("slow").int(), 1);
    assert_eq!(report(&server, &format!("k OK DUR 2s BREAKER {slow}")), "open");
    // A kind that was there before anybody asked for slow calls counts them from then on.
    assert!(acquire(&server, "o 50%/1m").0);
    assert!(acquire(&server, "o 100%/3calls:slow=1s").0);
    report(&server, "o OK DUR 2s");
    report(&server, "o OK DUR 2s");
    assert_eq!(acquire(&server, "o 50%/1m:min=2:slow=1h:slowrate=100%"), (false, "open".into()));
}

#[test]
fn neither_a_denied_call_nor_a_report_changes_what_protects() {
    let server = Server::at_t0();
    // Reports under a lax breaker leave the strict one in force.
    assert!(acquire(&server, "k 3:open=5s").0);
    for _ in 0..2 {
        assert_eq!(report(&server, "k FAIL BREAKER 1000/1h"), "closed");
        assert_eq!(shown(&server, "k").0, "3:open=5s");
    }
    assert_eq!(report(&server, "k FAIL BREAKER 1000/1h"), "closed");
    assert_eq!(acquire(&server, "k"), (false, "open".into()));
    // Denied calls leave state, deadline and breaker, and what they name takes no place.
    for text in ["1000/1h", "1:open=1ms", "50%/9calls", "50%/8calls", "50%/7calls"] {
        assert_eq!(server.line(&format!("CB.ACQUIRE k {text}"))[3].int(), 5000);
    }
    assert_eq!(shown(&server, "k"), is("3:open=5s", "last", 3));
    // Nor do denied calls end or shorten a trial, or a ramp.
    server.clock_advance(5_000_000);
    let trial = server.line("CB.ACQUIRE k 3:lease=30s:ramp=10s")[2].text();
    assert_eq!(server.line("CB.ACQUIRE k 3:lease=1s")[3].int(), 30_000);
    server.clock_advance(20_000_000);
    assert_eq!(report(&server, &format!("k OK TOKEN {trial}")), "closed");
    server.clock_advance(5_000_000);
    assert_eq!(acquire(&server, "k 3:ramp=0"), (true, "closed".into()));
    let admitted = (0..100).filter(|_| acquire(&server, "k 3:ramp=10s").0).count();
    assert_eq!(admitted, 50);
    let admitted = (0..100)
        .filter(|n| acquire(&server, if n % 2 == 0 { "k 3:ramp=10s" } else { "k 3:ramp=8s" }).0)
        .count();
    assert!((55..=57).contains(&admitted), "{admitted}");
    // A lease of the round keeps its length whoever else is admitted to it.
    let key = Key::new(&server, "r", "1:open=1s:lease=30s:probes=2");
    key.run("f");
    key.wait_ms(1000);
    let trial = key.admit();
    assert!(acquire(&server, "r 1:lease=1s:probes=2").0);
    assert_eq!(key.deny(), 1000);
    assert!(key.ok(&trial));
}

#[test]
fn a_report_does_not_replace_what_a_call_gave_after_another_report() {
    let server = Server::at_t0();
    report(&server, "k OK BREAKER 5");
    assert!(acquire(&server, "k 5").0);
    report(&server, "k OK BREAKER 2");
    assert!(acquire(&server, "k").0);
    assert_eq!(shown(&server, "k"), is("5", "last", 0));
    // Also while a pin holds.
    report(&server, "pinned OK BREAKER 5");
    server.ok("CB.PIN pinned 9");
    assert!(acquire(&server, "pinned 5").0);
    report(&server, "pinned OK BREAKER 2");
    assert_eq!(server.line("CB.UNPIN pinned").int(), 1);
    assert_eq!(shown(&server, "pinned"), is("5", "last", 0));
}

#[test]
fn a_report_puts_its_breaker_in_force_only_if_that_one_opened() {
    let server = Server::at_t0();
    assert!(acquire(&server, "k 1:open=10s").0);
    assert_eq!(report(&server, "k FAIL"), "open");
    server.clock_advance(10_000_000);
    let trial = server.line("CB.ACQUIRE k 1:open=10s")[2].text();
    // One of two trials failed, which is no verdict by the report's breaker yet.
    let other = "BREAKER 100%/10s:probes=2:open=7ms";
    assert_eq!(report(&server, &format!("k FAIL TOKEN {trial} {other}")), "open");
    let state = server.line("CB.STATE k");
    assert_eq!(state.field("breaker").text(), "1:open=10s");
    assert_eq!((state.field("next_open_ms").int(), state.field("retry_after_ms").int()), (10_000, 10_000));
    // What two of the other's trials show is its own verdict.
    server.clock_advance(10_000_000);
    let trial = server.line("CB.ACQUIRE k 50%/10s:probes=2:open=3s")[2].text();
    assert_eq!(report(&server, &format!("k FAIL TOKEN {trial} BREAKER 40%/10s:probes=2:open=7s")), "open");
    assert_eq!(shown(&server, "k").0, "40%/10s:open=7s:probes=2");
}

#[test]
fn the_breaker_in_force_holds_for_reports_and_operators_where_nothing_else_names_one() {
    let server = Server::at_t0();
    // Before 7.0 a module has no settings that change.
    if !server.at_least(7, 0) {
        return;
    }
    server.config_set("floodgate.default-breaker", "1:open=10s");
    assert!(acquire(&server, "default").0);
    assert_eq!(report(&server, "default FAIL"), "open");
    server.ok("RL.POLICY SET p 1/s PREFIX svc: BREAKER 1:open=10s");
    assert!(acquire(&server, "svc:k").0);
    assert_eq!(report(&server, "svc:k FAIL"), "open");
    server.clock_advance(10_000_000);
    let trial = server.line("CB.ACQUIRE svc:k")[2].text();
    server.config_set("floodgate.default-breaker", "");
    assert_eq!(server.line("RL.POLICY DEL p").int(), 1);

    let stale = server.line("CB.REPORT default OK");
    assert_eq!(stale.items(), [Reply::Int(0), Reply::bulk("open")]);
    assert_eq!(report(&server, &format!("svc:k OK TOKEN {trial}")), "closed");
    assert_eq!(report(&server, "svc:k FAIL"), "open");
    for (force, state) in [("CLOSED", "forced-closed"), ("AUTO", "closed")] {
        server.ok(&format!("CB.FORCE default {force}"));
        assert_eq!(server.line("CB.STATE default").field("state").text(), state);
    }
    assert_eq!(shown(&server, "default"), is("1:open=10s", "last", 0));
    // A call must bring one, and a key that is not there has none.
    for command in ["CB.ACQUIRE default", "CB.FORCE nobody OPEN"] {
        assert!(server.line(command).error().unwrap().starts_with("ERR no breaker"), "{command}");
    }
}

#[test]
fn who_chose_the_breaker_in_force_counts_also_where_the_text_is_the_same() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET p 1/s PREFIX svc: BREAKER 3");
    for key in ["svc:a", "svc:b", "svc:c", "svc:d"] {
        assert!(acquire(&server, &format!("{key} 3")).0);
        assert_eq!(shown(&server, key), is("3", "last", 0));
    }
    // A call that names none goes by the policy's from then on.
    assert!(acquire(&server, "svc:a").0);
    assert_eq!(shown(&server, "svc:a"), is("3", "policy", 0));
    let before = written(&server);
    assert!(acquire(&server, "svc:a").0);
    assert_eq!(written(&server), before, "nothing changed");
    // A pin ends what the caller chose as well, and so does its own end.
    server.ok("CB.PIN svc:b 3 FOR 1s");
    server.ok("CB.PIN svc:c 3");
    assert_eq!(server.line("CB.UNPIN svc:c").int(), 1);
    server.clock_advance(1_000_000);
    server.ok("RL.POLICY SET p 1/s PREFIX svc: BREAKER 9");
    for key in ["svc:a", "svc:b", "svc:c"] {
        assert_eq!(shown(&server, key), is("9", "policy", 0));
        for _ in 0..3 {
            assert_eq!(report(&server, &format!("{key} FAIL")), "closed");
        }
    }
    // The caller's stays where nobody else chose, and comes back with an opening.
    for _ in 0..2 {
        assert_eq!(report(&server, "svc:d FAIL"), "closed");
    }
    assert_eq!(shown(&server, "svc:d"), is("3", "last", 2));
    server.ok("RL.POLICY SET p 1/s PREFIX svc: BREAKER 3");
    assert!(acquire(&server, "svc:d").0);
    assert_eq!(shown(&server, "svc:d"), is("3", "policy", 2));
    assert_eq!(report(&server, "svc:d FAIL BREAKER 3"), "open");
    assert_eq!(shown(&server, "svc:d"), is("3", "last", 3));
}

#[test]
fn callers_may_be_told_not_to_choose() {
    let server = Server::at_t0();
    if !server.at_least(7, 0) {
        return; // before 7.0 a module has no settings that change
    }
    server.config_set("floodgate.default-breaker", "2:open=9s");
    assert!(acquire(&server, "own 5").0);
    server.config_set("floodgate.caller-limits", "no");
    assert!(acquire(&server, "k 1000").0);
    assert_eq!(shown(&server, "k"), is("2:open=9s", "default", 0));
    assert_eq!(report(&server, "k FAIL BREAKER 1000"), "closed");
    assert_eq!(report(&server, "k FAIL BREAKER 1000"), "open");
    assert_eq!(acquire(&server, "k 1000"), (false, "open".into()));
    assert_eq!(report(&server, "new FAIL BREAKER 1"), "closed");
    assert_eq!(shown(&server, "new"), is("2:open=9s", "default", 1));
    // A typing error does not hide, and what a key had before stays its own.
    assert!(server.line("CB.ACQUIRE k 5x").error().is_some());
    assert!(acquire(&server, "own 1000").0);
    assert_eq!(shown(&server, "own").0, "5");
    // A policy beats it, as it does for limits.
    server.ok("RL.POLICY SET p 1/s PREFIX own BREAKER 3");
    assert!(acquire(&server, "own 1000").0);
    assert_eq!(shown(&server, "own"), is("3", "policy", 0));
}

#[test]
fn a_call_that_its_limit_denies_changes_nothing_of_the_breaker() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE {t}full 1/h");
    let ask = |text: &str| server.line(&format!("CB.ACQUIRE {{t}}b {text} LIMIT {{t}}full 1/h"));
    assert!(acquire(&server, "{t}b 3:open=1s:lease=1s").0);
    report(&server, "{t}b FAIL");
    let before = (digest(&server, "{t}b"), written(&server));
    for text in ["9", "50%/1m", "4:open=9s", ""] {
        assert_eq!(ask(text)[1], Reply::bulk("closed"));
    }
    assert_eq!((digest(&server, "{t}b"), written(&server)), before);
    // Not even a trial that was lost is recorded; the reply knows of it.
    report(&server, "{t}b FAIL");
    report(&server, "{t}b FAIL");
    server.clock_advance(1_000_000);
    assert_eq!(acquire(&server, "{t}b 3:open=1s:lease=1s"), (true, "half-open".into()));
    server.clock_advance(2_500_000);
    let before = digest(&server, "{t}b");
    let reply = ask("");
    assert_eq!((reply[0].int(), reply[1].text()), (0, "open".into()));
    assert_eq!(digest(&server, "{t}b"), before);
    // A clock that stepped back is: at most its own length from here.
    server.ok("CB.FORCE {t}c CLOSED FOR 10s");
    server.clock_set(T0 - 3_600_000_000);
    let reply = server.line("CB.ACQUIRE {t}c LIMIT {t}full 1/h");
    assert_eq!((reply[0].int(), reply[1].text()), (0, "forced-closed".into()));
    server.clock_advance(10_000_000);
    assert_eq!(server.line("CB.STATE {t}c").field("state").text(), "closed");
}

#[test]
fn retry_is_the_later_of_breaker_and_limit() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE {x}l 1/h");
    server.line("CB.REPORT {x}b FAIL BREAKER 1:open=10s");
    let retry = |rest: &str| {
        let reply = server.line(&format!("CB.ACQUIRE {{x}}b 1:open=10s LIMIT {rest}"));
        assert_eq!((reply[0].int(), reply[1].text(), &reply[4]), (0, "open".into(), &Reply::NilBulk));
        reply[3].int()
    };
    assert_eq!(retry("{x}l 1/h"), 3_600_000);
    assert_eq!(retry("{x}l 2/h"), 10_000);
    server.line("RL.ACQUIRE {x}s 1/5s");
    assert_eq!(retry("{x}s 1/5s"), 10_000);
    assert_eq!(retry("{x}new 1/h COST 2"), -1, "never is the longest");
    server.ok("RL.BLOCK {x}blocked FOR 20s");
    assert_eq!(retry("{x}blocked 1/h"), 20_000);
    server.ok("CB.FORCE {x}b OPEN");
    let reply = server.line("CB.ACQUIRE {x}b LIMIT {x}l 1/h");
    assert_eq!(reply[3].int(), -1);
    // The trial's lease and the limit too.
    server.ok("CB.FORCE {x}b AUTO");
    server.line("CB.REPORT {x}b FAIL BREAKER 1:open=1s:lease=30s");
    server.clock_advance(1_000_000);
    assert!(acquire(&server, "{x}b 1:lease=30s").0);
    let reply = server.line("CB.ACQUIRE {x}b LIMIT {x}l 1/h");
    assert_eq!((reply[1].text(), reply[3].int()), ("half-open".into(), 3_599_000));
    let reply = server.line("CB.ACQUIRE {x}b LIMIT {x}l 9/h");
    assert_eq!((reply[1].text(), reply[3].int()), ("half-open".into(), 30_000));
}

#[test]
fn results_far_ahead_of_a_clock_that_stepped_back_are_forgotten() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "3/16s");
    key.run("ff");
    // Looks reckon with it and record nothing.
    server.clock_set(T0 - 3_600_000_000);
    assert_eq!(key.number("failures"), 0);
    server.clock_set(T0 + 1_000_000);
    assert_eq!(key.number("failures"), 2);
    // A call that is granted records it: they do not come back.
    server.clock_set(T0 - 3_600_000_000);
    key.admit();
    server.clock_set(T0 + 1_000_000);
    assert_eq!((key.number("failures"), key.run("f")), (0, "c".into()));
    // A small step forgets nothing.
    server.clock_set(T0 - 10_000_000);
    assert_eq!((key.number("failures"), key.run("f")), (1, "c".into()));
    assert_eq!(key.run("f"), "o");
    assert_eq!(key.deny(), 60_000);
    // The opening lasts at most its own length from the first call that meets the step.
    server.clock_set(T0 - 7_200_000_000);
    assert_eq!(key.number("retry_after_ms"), 60_000);
    assert_eq!(key.deny(), 60_000);
    server.clock_set(T0 - 7_200_000_000 + 60_000_000);
    assert_eq!(key.acquire()[1].text(), "half-open");
    // Nor a pin, from the first call that is granted.
    server.clock_set(T0);
    server.ok("CB.PIN pinned 5 FOR 30s");
    server.line("CB.ACQUIRE pinned 7");
    server.clock_set(T0 - 7_200_000_000);
    assert_eq!(shown(&server, "pinned").1, "pin");
    assert!(acquire(&server, "pinned 7").0);
    server.clock_advance(29_999_999);
    assert_eq!(shown(&server, "pinned").1, "pin");
    server.clock_advance(1);
    assert_eq!(shown(&server, "pinned"), is("7", "last", 0));
    server.clock_set(T0);
    // Nor is a breaker kept for longer than its idle time after such a step.
    let idle = Key::new(&server, "idle", "3/16s:idle=1h");
    idle.run("f");
    server.clock_set(T0 - 20_000_000_000);
    idle.admit();
    server.clock_advance(3_600_000_000);
    assert!(server.line("CB.STATE idle").is_nil());
}

#[test]
fn windows_beside_the_one_in_force_travel_with_the_key() {
    let mut server = Server::durable();
    let replica = server.replica();
    server.clock_set(T0);
    let prepare = |key: &str| {
        for text in ["9", "50%/9calls:min=9:slow=1s", "9/1h:idle=2h"] {
            assert!(acquire(&server, &format!("{key} {text}")).0);
        }
        report(&server, &format!("{key} FAIL DUR 2s BREAKER 50%/9calls:min=9:slow=1s"));
        report(&server, &format!("{key} FAIL BREAKER 8"));
    };
    prepare("k");
    prepare("l");
    let dump = server.call(&["DUMP", "k"]).bytes().to_vec();
    assert_eq!(server.call(&[b"RESTORE".as_slice(), b"r", b"0", &dump]), Reply::ok());
    assert_eq!(server.line("COPY k c"), Reply::Int(1));
    for key in ["r", "c"] {
        assert_eq!(digest(&server, key), digest(&server, "k"), "{key}");
    }
    let alone = server.call(&["MEMORY", "USAGE", "k"]).int();
    assert!((200..1500).contains(&alone), "{alone}");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let late = server.replica();
    wait_synced(&server, &late);
    assert_same_data(&server, &late);
    for (key, text, failures) in [("k", "2", 2), ("r", "2/1h", 2), ("c", "50%/9calls:min=2", 2)] {
        replica.ok("REPLICAOF NO ONE");
        replica.clock_set(T0);
        assert_eq!(acquire(&replica, &format!("{key} {text}")), (false, "open".into()));
        assert_eq!(replica.call(&["CB.STATE", key]).field("failures").int(), failures);
    }
    server.kill9();
    server.restart();
    server.clock_set(T0);
    assert_eq!(acquire(&server, "k 50%/9calls:min=2:slow=1s:slowrate=50%"), (false, "open".into()));
    assert_eq!(server.line("CB.STATE k").field("slow").int(), 1);
    assert_eq!(acquire(&server, "l 2"), (false, "open".into()));
    // The longest `idle=` of the breakers that were named keeps the key.
    server.clock_advance(7_199_000_000);
    assert!(!server.line("CB.STATE c").is_nil());
}
