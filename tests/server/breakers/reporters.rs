//! `reporters=` and `CB.REPORT … FROM`: one sick instance opens nothing for all.

use crate::breakers::fixtures::digest;
use crate::harness::{
    Reply, Server, T0, assert_error, assert_error_prefix, assert_same_data, call, wait_synced,
};

/// The state after a report.
#[track_caller]
fn report(server: &Server, words: &str) -> String {
    let reply = server.line(&format!("CB.REPORT {words}"));
    assert_eq!(reply[0], Reply::Int(1), "{words}: {reply:?}");
    reply[1].text()
}

/// Different reporters of failures and of slow calls; -1 where they are not told apart.
fn seen(server: &Server, key: &str) -> [i64; 2] {
    let state = server.line(&format!("CB.STATE {key}"));
    ["failing_reporters", "slow_reporters"].map(|name| state.get(name).map_or(-1, |reply| reply.int()))
}

#[test]
fn one_sick_instance_opens_no_breaker() {
    let server = Server::at_t0();
    for (n, trip) in ["3", "3/10s", "50%/10s:min=3", "50%/10calls:min=3"].iter().enumerate() {
        let key = format!("k{n}");
        assert_eq!(server.line(&format!("CB.ACQUIRE {key} {trip}:reporters=2"))[0], Reply::Int(1));
        for _ in 0..5 {
            assert_eq!(report(&server, &format!("{key} FAIL FROM pod-1")), "closed", "{trip}");
        }
        assert_eq!(seen(&server, &key), [1, 0]);
        assert_eq!(report(&server, &format!("{key} FAIL FROM pod-2")), "open", "{trip}");
        assert_eq!(seen(&server, &key), [2, 0]);
        assert_eq!(server.line(&format!("CB.ACQUIRE {key} {trip}:reporters=2"))[1].text(), "open");
    }
    // Who says nothing of itself is one reporter, with or without a token.
    let token = server.line("CB.ACQUIRE unnamed 2:reporters=2")[2].text();
    report(&server, "unnamed FAIL");
    assert_eq!(report(&server, &format!("unnamed FAIL TOKEN {token}")), "closed");
    assert_eq!(report(&server, "unnamed FAIL FROM pod-1"), "open");
    // Slow calls ask for reporters of slow calls.
    server.line("CB.ACQUIRE slow 90%/10s:min=2:slow=1s:slowrate=50%:reporters=2");
    report(&server, "slow OK DUR 2s FROM pod-1");
    report(&server, "slow FAIL FROM pod-2");
    assert_eq!(seen(&server, "slow"), [1, 1]);
    assert_eq!(report(&server, "slow OK DUR 2s FROM pod-3"), "open");
}

/// An identity is bytes: any, from 1 to 128.
#[test]
fn who_reports_is_any_1_to_128_bytes() {
    let server = Server::at_t0();
    let long = [b'x'; 128];
    server.line("CB.ACQUIRE k 9:reporters=8");
    let names: [&[u8]; 5] = [b"\0", b"\xff\r\n", b" ", &long[..127], &long];
    for name in names {
        for _ in 0..2 {
            assert_eq!(call!(server, "CB.REPORT", "k", "FAIL", "from", name)[1].text(), "closed");
        }
    }
    assert_eq!(seen(&server, "k"), [5, 0], "the tenth report has five reporters");
    for name in [&[b'x'; 129][..], b""] {
        let reply = call!(server, "CB.REPORT", "k", "FAIL", "FROM", name);
        assert_error(&reply, "ERR FROM must be 1 to 128 bytes");
    }
    assert_error_prefix(&server.line("CB.REPORT k FAIL FROM"), "ERR syntax error: FROM needs a value");
    assert_error_prefix(
        &server.line("CB.REPORT k FAIL FROM a FROM b"),
        "ERR syntax error: FROM is given twice",
    );
    assert_eq!(server.line("CB.STATE k").field("failures"), Reply::Int(10));
    // It is checked where nobody asks for it, too, and means nothing there.
    assert_error(&call!(server, "CB.REPORT", "new", "OK", "FROM", ""), "ERR FROM must be 1 to 128 bytes");
    assert_eq!(server.line("EXISTS new"), Reply::Int(0));
    server.line("CB.ACQUIRE plain 2");
    report(&server, "plain FAIL FROM a");
    assert_eq!(seen(&server, "plain"), [-1, -1]);
    assert_eq!(report(&server, "plain FAIL FROM a"), "open");
    for text in ["5:reporters=0", "5:reporters=9", "5:reporters=x"] {
        assert_error(
            &server.line(&format!("CB.ACQUIRE k {text}")),
            &format!("ERR invalid breaker '{text}': reporters must be 1 to 8"),
        );
    }
}

#[test]
fn a_window_of_fewer_calls_than_reporters_never_opens_and_is_refused() {
    let server = Server::start();
    let text = "50%/5calls:reporters=6";
    let refused = format!("ERR invalid breaker '{text}': reporters is more than the calls in the window");
    for line in ["CB.ACQUIRE k", "CB.REPORT k FAIL BREAKER", "CB.PIN k", "RL.POLICY SET p 1/s BREAKER"] {
        assert_error(&server.line(&format!("{line} {text}")), &refused);
    }
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    assert_eq!(server.line("CB.ACQUIRE k 50%/5calls:reporters=5")[0], Reply::Int(1));
}

/// Told apart from when the breaker in force asks: by a call, a pin or a policy.
#[test]
fn who_was_before_is_one() {
    let server = Server::at_t0();
    server.line("CB.ACQUIRE called 9/10s");
    server.line("CB.ACQUIRE pinned 9/10s");
    server.ok("RL.POLICY SET shop 10/s PREFIX shop: BREAKER 9/10s");
    server.line("CB.ACQUIRE shop:pay");
    for key in ["called", "pinned", "shop:pay"] {
        for name in ["a", "b", "c"] {
            report(&server, &format!("{key} FAIL FROM {name}"));
        }
        assert_eq!(seen(&server, key), [-1, -1], "{key}");
    }
    // A call that is admitted brings its breaker in force.
    assert_eq!(server.line("CB.ACQUIRE called 3/10s:reporters=3")[0], Reply::Int(1));
    server.ok("CB.PIN pinned 3/10s:reporters=3");
    server.ok("RL.POLICY SET shop 10/s BREAKER 3/10s:reporters=3");
    for key in ["called", "pinned", "shop:pay"] {
        assert_eq!(report(&server, &format!("{key} FAIL FROM a")), "closed", "{key}");
        assert_eq!(seen(&server, key), [2, 0], "{key}");
        assert_eq!(report(&server, &format!("{key} FAIL")), "closed", "{key}: those before have no name");
        assert_eq!(report(&server, &format!("{key} FAIL FROM b")), "open", "{key}");
    }
    // A key that a report creates has its breaker in force from the start.
    assert_eq!(report(&server, "made FAIL FROM a BREAKER 2:reporters=2"), "closed");
    assert_eq!(seen(&server, "made"), [1, 0]);
    assert_eq!(report(&server, "made FAIL FROM b"), "open");
}

/// The number of reporters is part of the trip: a call that brings another one is
/// judged by it first.
#[test]
fn a_call_that_asks_for_fewer_reporters_may_open() {
    let server = Server::at_t0();
    server.line("CB.ACQUIRE k 2/10s:reporters=3");
    report(&server, "k FAIL FROM a");
    report(&server, "k FAIL FROM b");
    assert_eq!(server.line("CB.ACQUIRE k 2/10s:reporters=4")[0], Reply::Int(1));
    let reply = server.line("CB.ACQUIRE k 2/10s:reporters=2");
    assert_eq!((reply[0].int(), reply[1].text()), (0, "open".to_owned()));
    assert_eq!(server.line("CB.STATE k").field("breaker").text(), "2/10s:reporters=2");
}

/// Half-open rounds ask nobody who reports.
#[test]
fn a_trial_that_fails_opens_whoever_reports_it() {
    let server = Server::at_t0();
    for key in ["a", "b"] {
        server.line(&format!("CB.ACQUIRE {key} 2:reporters=2:open=1s"));
        report(&server, &format!("{key} FAIL FROM pod-1"));
        assert_eq!(report(&server, &format!("{key} FAIL FROM pod-2")), "open");
    }
    server.clock_advance(1_000_000);
    let tokens = ["a", "b"].map(|key| server.line(&format!("CB.ACQUIRE {key}"))[2].text());
    assert_eq!(report(&server, &format!("a FAIL TOKEN {} FROM pod-1", tokens[0])), "open");
    assert_eq!(report(&server, &format!("b OK TOKEN {} FROM pod-1", tokens[1])), "closed");
    assert_eq!(seen(&server, "b"), [0, 0]);
}

/// Replicas, RDB, AOF, COPY and DUMP know the same reporters.
#[test]
fn reporters_are_kept_and_replicated() {
    let server = Server::builder().args(["--appendonly", "yes"]).start();
    server.clock_set(T0);
    let replica = server.replica();
    replica.clock_set(T0);
    let keys = ["run", "slices", "ring", "plain"];
    let breakers =
        ["9:reporters=4", "9/16s:reporters=4", "90%/30calls:min=30:slow=1s:reporters=4", "50%/1h:slow=1s"];
    for (key, breaker) in keys.iter().zip(breakers) {
        server.line(&format!("CB.ACQUIRE {key} {breaker}"));
        for name in ["a", "b", "a", "", "c"] {
            let from = if name.is_empty() { String::new() } else { format!(" FROM {name}") };
            report(&server, &format!("{key} FAIL DUR 2s{from}"));
        }
    }
    // Two kinds beside each other, told apart in both.
    server.line("CB.ACQUIRE run 8/16s:reporters=2");
    report(&server, "run FAIL FROM d");
    let shown = |server: &Server| keys.map(|key| seen(server, key));
    let expected = [[1, 0], [4, 0], [4, 4], [-1, -1]];
    assert_eq!(shown(&server), expected);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    assert_eq!(shown(&replica), expected);
    assert_eq!(server.line("COPY ring copied"), Reply::Int(1));
    assert_eq!(seen(&server, "copied"), [4, 4]);
    let payload = server.line("DUMP run");
    assert_eq!(call!(server, "RESTORE", "restored", 0, payload.bytes()), Reply::ok());
    assert_eq!(digest(&server, "restored"), digest(&server, "run"));
    let before: Vec<_> = keys.iter().map(|key| digest(&server, key)).collect();
    assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
    assert_eq!(keys.iter().map(|key| digest(&server, key)).collect::<Vec<_>>(), before);
    assert_eq!(server.line("DEBUG LOADAOF"), Reply::ok());
    assert_eq!(keys.iter().map(|key| digest(&server, key)).collect::<Vec<_>>(), before);
    assert_eq!(shown(&server), expected);
}

/// As many names as a client likes cost no more than eight.
#[test]
fn many_names_cost_no_more_than_eight() {
    let server = Server::at_t0();
    server.line("CB.ACQUIRE k 1000000/1h:reporters=8");
    let memory = || server.line("MEMORY USAGE k SAMPLES 0").int();
    let before = memory();
    for n in 0..2_000 {
        report(&server, &format!("k FAIL FROM {n}{}", "x".repeat(100)));
    }
    assert_eq!(memory(), before);
    assert_eq!(seen(&server, "k"), [8, 0]);
    assert!(before < 1_000, "{before}");
}
