//! Whose units are whose: settling gives back what the reservation took and nothing of
//! anybody else, whatever came between.

use crate::harness::{Reply, Server, T0, assert_error_prefix, assert_same_data, snapshot, wait_synced};
use crate::limits::fixtures::{acquire, used};

const MINUTE: i64 = 60_000_000;
const ALGORITHMS: [&str; 3] = ["10/m", "bucket:10/m", "fixed:10/m"];

#[track_caller]
fn granted(server: &Server, command: &str) -> i64 {
    acquire(server, command).granted
}

#[track_caller]
fn reserve(server: &Server, key: &str, limits: &str, cost: u64, id: &str) {
    let reply = server.line(&format!("RL.RESERVE 1 {key} {limits} COST {cost} TTL 10m ID {id}"));
    assert!(!reply[0].is_nil(), "{reply:?}");
}

#[test]
fn a_settlement_undoes_no_later_grant() {
    for limits in ALGORITHMS {
        for settle in ["RL.RELEASE a 1 k", "RL.COMMIT a 1 k COST 0"] {
            let server = Server::at_t0();
            reserve(&server, "k", limits, 10, "a");
            server.clock_advance(MINUTE);
            if limits == "10/m" {
                server.clock_advance(MINUTE);
            }
            assert_eq!(granted(&server, &format!("k {limits} COST 10")), 10, "{limits}");
            assert_eq!(server.line(settle), Reply::Int(1));
            assert_eq!(granted(&server, &format!("k {limits}")), 0, "{limits}");
        }
    }
}

/// Of a bucket the oldest units come back first.
#[test]
fn what_has_come_back_is_not_given_back() {
    let server = Server::at_t0();
    reserve(&server, "k", "bucket:10/m", 6, "a");
    assert_eq!(granted(&server, "k bucket:10/m COST 4"), 4);
    server.clock_advance(MINUTE / 2);
    assert_eq!(used(&server, "k", "bucket:10/m"), [5], "five of the six are there again");
    server.line("RL.RELEASE a 1 k");
    assert_eq!(used(&server, "k", "bucket:10/m"), [4]);
    // The other way round: it is the others' units that have come back.
    server.ok("FLUSHALL");
    assert_eq!(granted(&server, "k bucket:10/m COST 4"), 4);
    reserve(&server, "k", "bucket:10/m", 6, "a");
    server.clock_advance(MINUTE / 2);
    server.line("RL.RELEASE a 1 k");
    assert_eq!(used(&server, "k", "bucket:10/m"), [0]);
}

#[test]
fn a_refund_takes_the_newest_whoever_took_them() {
    for limits in ALGORITHMS {
        let server = Server::at_t0();
        reserve(&server, "k", limits, 6, "a");
        assert_eq!(granted(&server, &format!("k {limits} COST 2")), 2);
        // The two of somebody, and one of the reservation's.
        assert_eq!(server.line("RL.REFUND k 3"), Reply::Int(3));
        assert_eq!(granted(&server, &format!("k {limits} COST 5")), 5);
        assert_eq!(used(&server, "k", limits), [10], "{limits}");
        server.line("RL.RELEASE a 1 k");
        assert_eq!(used(&server, "k", limits), [5], "{limits}");
        // A settlement between two others' units leaves both where they are.
        server.ok("FLUSHALL");
        reserve(&server, "k", limits, 2, "a");
        reserve(&server, "k", limits, 3, "b");
        reserve(&server, "k", limits, 4, "c");
        server.line("RL.RELEASE b 1 k");
        assert_eq!(used(&server, "k", limits), [6], "{limits}");
        assert_eq!(server.line("RL.REFUND k 5"), Reply::Int(5), "c's four and one of a's");
        server.line("RL.RELEASE c 1 k");
        assert_eq!(used(&server, "k", limits), [1], "{limits}");
        server.line("RL.RELEASE a 1 k");
        assert_eq!(used(&server, "k", limits), [0], "{limits}");
    }
}

#[test]
fn what_a_limit_lost_with_its_algorithm_is_lost() {
    let server = Server::at_t0();
    let reply = server.line("RL.RESERVE 1 b 10/m:name=x COST 5 TTL 180s ID r1");
    assert!(!reply[0].is_nil());
    assert_eq!(granted(&server, "b fixed:10/m:name=x COST 10"), 10);
    assert_eq!(server.line("RL.RELEASE r1 1 b"), Reply::Int(1));
    assert_eq!(granted(&server, "b fixed:10/m:name=x COST 5"), 0);
    assert_eq!(used(&server, "b", "fixed:10/m:name=x"), [10]);
}

#[test]
fn a_name_finds_its_units_under_another_count_and_period() {
    for limits in ALGORITHMS {
        let server = Server::at_t0();
        let (first, second) = (format!("{limits}:name=x"), limits.replace("10/m", "20/h") + ":name=x");
        reserve(&server, "k", &first, 5, "a");
        assert_eq!(granted(&server, &format!("k {second} COST 4")), 4);
        assert_eq!(used(&server, "k", &second), [9], "{limits}");
        server.line("RL.RELEASE a 1 k");
        assert_eq!(used(&server, "k", &second), [4], "{limits}");
    }
}

#[test]
fn a_limit_that_is_not_listed_now_is_settled_too() {
    for limits in ALGORITHMS {
        let server = Server::at_t0();
        let named = format!("{limits}:name=a");
        reserve(&server, "k", &named, 5, "r");
        granted(&server, "k 20/h");
        granted(&server, &format!("k {named} COST 3"));
        granted(&server, "k 20/h");
        server.line("RL.RELEASE r 1 k");
        assert_eq!(used(&server, "k", &named), [3], "{limits}");
    }
}

#[test]
fn every_key_of_a_hierarchy_is_settled_by_its_own() {
    let server = Server::at_t0();
    let reserve =
        "RL.RESERVE 3 {t}org bucket:100/m {t}team fixed:50/m {t}user 10/m,concurrent:2 COST 10 TTL 10m ID a";
    assert!(!server.line(reserve)[0].is_nil());
    server.clock_advance(2 * MINUTE);
    for (key, limits, all) in [("org", "bucket:100/m", 100), ("team", "fixed:50/m", 50), ("user", "10/m", 10)]
    {
        assert_eq!(granted(&server, &format!("{{t}}{key} {limits} COST {all}")), all);
    }
    assert_eq!(server.line("RL.RELEASE a 3 {t}org {t}team {t}user"), Reply::Int(1));
    for (key, limits) in [("org", "bucket:100/m"), ("team", "fixed:50/m"), ("user", "10/m")] {
        assert_eq!(granted(&server, &format!("{{t}}{key} {limits}")), 0, "{key}");
    }
    assert_eq!(used(&server, "{t}user", "concurrent:2"), [0]);
}

#[test]
fn what_was_reset_is_not_given_back() {
    let server = Server::at_t0();
    reserve(&server, "k", "10/m", 10, "a");
    server.line("RL.RESET k");
    assert_eq!(granted(&server, "k 10/m COST 10"), 10);
    assert_eq!(server.line("RL.RELEASE a 1 k"), Reply::Int(0));
    assert_eq!(granted(&server, "k 10/m"), 0);
}

#[test]
fn a_late_report_corrects_its_own_units() {
    let server = Server::at_t0();
    assert!(!server.line("RL.RESERVE 1 k bucket:10/m COST 6 TTL 1s ID a")[0].is_nil());
    assert_eq!(granted(&server, "k bucket:10/m COST 4"), 4);
    server.clock_advance(12_000_000);
    // Two are there again; four of its own are not.
    assert_eq!(server.line("RL.COMMIT a 1 k COST 1"), Reply::Int(2));
    assert_eq!(used(&server, "k", "bucket:10/m"), [4]);
    // More than reserved is charged on top, and is nobody's to give back.
    server.ok("FLUSHALL");
    reserve(&server, "k", "10/m", 2, "a");
    reserve(&server, "k", "10/m", 3, "b");
    server.line("RL.COMMIT a 1 k COST 7");
    assert_eq!(used(&server, "k", "10/m"), [10]);
    server.line("RL.RELEASE b 1 k");
    assert_eq!(used(&server, "k", "10/m"), [7]);
}

#[test]
fn calls_are_refunded_as_calls() {
    let server = Server::at_t0();
    for _ in 0..60 {
        assert_eq!(granted(&server, "t 90000/m,60/m:per=call COST 100"), 100);
    }
    assert_eq!(server.line("RL.REFUND t 100"), Reply::Int(100));
    assert_eq!(used(&server, "t", "90000/m,60/m:per=call"), [5900, 59]);
    assert_eq!(granted(&server, "t 90000/m,60/m:per=call COST 100"), 100);
    assert_eq!(granted(&server, "t 90000/m,60/m:per=call COST 100"), 0);
    // What is told is what came back.
    for _ in 0..5 {
        assert_eq!(granted(&server, "calls 5/m:per=call COST 100"), 100);
    }
    assert_eq!(server.line("RL.REFUND calls 100"), Reply::Int(1));
    assert_eq!(used(&server, "calls", "5/m:per=call"), [4]);
}

#[test]
fn a_refund_goes_to_the_limits_that_are_named() {
    let server = Server::at_t0();
    granted(&server, "k 100/m,50/h COST 5");
    assert_eq!(server.line("RL.REFUND k 3 50/h"), Reply::Int(3));
    assert_eq!(used(&server, "k", "100/m,50/h"), [5, 2]);
    // By identity: the count does not matter, and neither does whether it is listed.
    assert_eq!(server.line("RL.REFUND k 1 1/m,9/d"), Reply::Int(1));
    assert_eq!(used(&server, "k", "100/m,50/h"), [4, 2]);
    granted(&server, "k 7/d COST 6");
    assert_eq!(server.line("RL.REFUND k 9 100/m"), Reply::Int(4));
    assert_eq!(used(&server, "k", "100/m,50/h,7/d"), [0, 2, 6]);
    for none in ["3/s", "bucket:100/m", "concurrent:5", "unlimited"] {
        assert_eq!(server.line(&format!("RL.REFUND k 9 {none}")), Reply::Int(0), "{none}");
    }
    assert_eq!(server.line("RL.REFUND missing 9 100/m"), Reply::Int(0));
    // Those of the last grant, which a denial does not change.
    assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(1));
    assert_eq!(used(&server, "k", "100/m,50/h,7/d"), [0, 2, 5]);
    // A policy's, and those that the server has for the key.
    server.line("RL.POLICY SET daily 8/d PREFIX k");
    assert_eq!(server.line("RL.REFUND k 1 @daily"), Reply::Int(1));
    assert_eq!(server.line("RL.REFUND k 1 *"), Reply::Int(1));
    assert_eq!(used(&server, "k", "50/h,7/d"), [2, 3]);
    assert_error_prefix(&server.line("RL.REFUND k 1 10/x"), "ERR invalid limit '10/x'");
    assert_error_prefix(&server.line("RL.REFUND k 1 @nobody"), "ERR ");
    assert_error_prefix(&server.line("RL.REFUND k 1 7/d 8/d"), "ERR wrong number of arguments for ");
    assert_eq!(used(&server, "k", "50/h,7/d"), [2, 3]);
}

/// What is stored knows whose units are whose, and so does a replica.
#[test]
fn who_has_what_survives() {
    let server = Server::at_t0();
    let replica = server.replica();
    replica.clock_set(T0);
    let limits = "10/m,bucket:20/m,fixed:30/h:per=call,concurrent:9";
    for (id, cost) in [("c", 3), ("a", 2), ("b", 1)] {
        reserve(&server, "k", limits, cost, id);
        granted(&server, "k 10/m,bucket:20/m,fixed:30/h:per=call");
    }
    server.line("RL.REFUND k 2 10/m");
    for line in
        ["DEBUG RELOAD", "RL.RELEASE a 1 k", "DEBUG RELOAD", "RL.COMMIT c 1 k COST 1", "RL.RELEASE b 1 k"]
    {
        let reply = server.line(line);
        assert!(reply.error().is_none(), "{line}: {reply:?}");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        let dump = server.line("DUMP k");
        server.line("DEL copy");
        let copied = server.call(&[b"RESTORE".as_slice(), b"copy", b"0", dump.bytes()]);
        assert!(copied.error().is_none(), "{copied:?}");
        let digest = |key: &str| server.line(&format!("DEBUG DIGEST-VALUE {key}"));
        assert_eq!(digest("k"), digest("copy"), "after {line}");
    }
    // Of 10/m: c's one, somebody's two; a's went first, b's and one of somebody's were refunded.
    assert_eq!(used(&server, "k", limits), [3, 4, 4, 0]);
    let before = snapshot(&server);
    server.line("DEBUG RELOAD");
    assert_eq!(snapshot(&server), before);
}
