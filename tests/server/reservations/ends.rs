//! When reservations end: by a clock that steps, and many together.

use crate::harness::{Reply, Server, T0, assert_same_data, wait_synced};
use crate::limits::fixtures::acquire;
use crate::queue::fixtures::waits;

const HOUR: i64 = 3_600_000_000;
const SECOND: i64 = 1_000_000;

#[track_caller]
fn retry(server: &Server, line: &str) -> i64 {
    let reply = server.line(line);
    assert!(reply[0].is_nil(), "{reply:?}");
    reply[1][0].rate_limit().retry_after_ms
}

#[track_caller]
fn left(server: &Server, key: &str) -> Vec<i64> {
    server.line(&format!("RL.RESERVATIONS {key}")).items().iter().map(|one| one[3].int()).collect()
}

#[test]
fn a_reservation_ends_its_own_length_after_a_step() {
    let server = Server::at_t0();
    server.clock_advance(HOUR);
    server.line("RL.RESERVE 1 k concurrent:1 TTL 60s ID a");
    server.clock_set(T0);
    // Looks see it, and record nothing.
    for later in [0, 5 * SECOND, 0] {
        server.clock_set(T0 + later);
        let quota = server.line("RL.QUOTA k concurrent:1");
        assert_eq!(quota[0].field("retry_after_ms"), Reply::Int(60_000));
        assert_eq!(left(&server, "k"), [60_000]);
    }
    // A denial records it.
    assert_eq!(retry(&server, "RL.RESERVE 1 k concurrent:1 TTL 60s"), 60_000);
    server.clock_advance(20 * SECOND);
    assert_eq!(retry(&server, "RL.RESERVE 1 k concurrent:1 TTL 60s"), 40_000);
    assert_eq!(left(&server, "k"), [40_000]);
    server.clock_advance(40 * SECOND - 1);
    assert_eq!(retry(&server, "RL.RESERVE 1 k concurrent:1 TTL 60s"), 1);
    server.clock_advance(1);
    assert!(!server.line("RL.RESERVE 1 k concurrent:1 TTL 60s ID b")[0].is_nil());
    assert_eq!(server.line("RL.COMMIT a 1 k"), Reply::Int(0));
}

#[test]
fn what_was_granted_before_now_ends_as_it_would() {
    let server = Server::at_t0();
    server.line("RL.RESERVE 1 k concurrent:3 TTL 2h ID old");
    server.clock_advance(HOUR);
    server.line("RL.RESERVE 1 k concurrent:3 TTL 60s ID new");
    server.clock_set(T0 + 10 * SECOND);
    assert_eq!(left(&server, "k"), [60_000, 7_190_000]);
    // A renewal is what counts.
    server.clock_set(T0 + 2 * HOUR - SECOND);
    server.line("RL.RENEW old TTL 30s 1 k");
    server.clock_set(T0);
    assert_eq!(left(&server, "k"), [30_000]);
    server.clock_advance(SECOND);
    server.line("RL.ACQUIRE k 5/m");
    server.clock_advance(29 * SECOND);
    assert_eq!(left(&server, "k"), [1_000]);
    server.clock_advance(SECOND);
    assert_eq!(left(&server, "k"), [] as [i64; 0]);
}

/// What has ended has ended, noted or not.
#[test]
fn a_step_brings_no_ended_reservation_back() {
    for noted in [true, false] {
        let server = Server::at_t0();
        server.line("RL.RESERVE 1 k 100/d,concurrent:2 COST 5 TTL 60s ID a");
        server.line("RL.RESERVE 1 k 100/d,concurrent:2 COST 5 TTL 2h ID b");
        server.clock_advance(HOUR);
        // The key sees the time.
        server.line("RL.RENEW b TTL 2h 1 k");
        if noted {
            server.line("RL.ACQUIRE k 100/d");
        }
        server.clock_set(T0 + SECOND);
        assert_eq!(left(&server, "k"), [7_200_000]);
        server.line("RL.RESERVE 1 k 100/d,concurrent:2 TTL 1h ID c");
        assert_eq!(left(&server, "k"), [3_600_000, 7_200_000]);
        assert_eq!(server.line("RL.COMMIT a 1 k COST 3"), Reply::Int(2));
    }
}

#[test]
fn a_replica_sees_the_step_that_its_master_saw() {
    let server = Server::at_t0();
    let replica = server.replica();
    replica.clock_set(T0);
    server.clock_advance(HOUR);
    for n in 0..200 {
        server.line(&format!("RL.RESERVE 1 k 1000/d,bucket:500/h,concurrent:300 TTL {}s ID r{n}", 30 + n));
    }
    server.clock_set(T0);
    acquire(&server, "k 1000/d,bucket:500/h");
    for _ in 0..5 {
        server.clock_advance(40 * SECOND);
        server.line("RL.RESERVE 1 k 1000/d,bucket:500/h,concurrent:300 TTL 1s");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    }
    assert_eq!(server.line("RL.RELEASE r199 1 k"), Reply::Int(1));
    assert_eq!(server.line("RL.RELEASE r3 1 k"), Reply::Int(2));
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    server.line("DEBUG RELOAD");
    assert_same_data(&server, &replica);
}

/// Whoever looks, or is denied by a limit far below what is held, waits for none of it.
#[test]
fn looks_and_denials_cost_the_same_however_many_are_held() {
    let server = Server::at_t0();
    server.config_set("lua-time-limit", "0");
    // Each with an end of its own.
    let fill = "for n=1,100000 do redis.call('RL.RESERVE','1','many','concurrent:200000','TTL',3600000+n..'ms','ID','r'..n) end";
    assert!(server.call(&["EVAL", fill, "1", "many"]).error().is_none());
    server.line("RL.RESERVE 1 one concurrent:200000 TTL 1h");
    let mut wire = server.wire();
    let mut micros = |command: &str, key: &str| {
        server.ok("CONFIG RESETSTAT");
        wire.lines(&vec![command.replace('~', key); 300]);
        let name = command.split(' ').next().expect("a command").to_lowercase();
        let told = server.info_field("commandstats", &format!("cmdstat_{name}"));
        let each = told.split(',').find_map(|field| field.strip_prefix("usec_per_call="));
        each.expect("a figure").parse::<f64>().expect("a number")
    };
    for command in [
        "RL.QUOTA ~ concurrent:1",
        "RL.QUOTA ~ concurrent:50000 HEADERS",
        "RL.RESERVE 1 ~ concurrent:1 TTL 1s",
        "RL.ACQUIRE ~ 0/m",
        "RL.BATCH ALL 2 ~ 1/m 1 ~ 1/m 1",
    ] {
        let (few, many) = (micros(command, "one"), micros(command, "many"));
        assert!(many < 20.0 * few + 200.0, "{command}: {few} us with one held, {many} us with 100 000");
    }
}

/// What is played through what may come shares what is held with its key, however much
/// that is: a line on it costs next to nothing.
#[test]
fn a_line_copies_nothing_of_what_is_held() {
    let server = Server::at_t0();
    server.config_set("lua-time-limit", "0");
    let fill = "for n=1,20000 do redis.call('RL.RESERVE','1','k','1000000/d,concurrent:200000','TTL','1h','ID','r'..n) end";
    assert!(server.call(&["EVAL", fill, "1", "k"]).error().is_none());
    let _waiter = waits(&server, "RL.ACQUIRE k 100/d COST 50 WAIT 30s");
    let used = || server.info_field("memory", "used_memory").parse::<i64>().expect("a number");
    for n in 1..5 {
        assert_eq!(server.line(&format!("RL.COMMIT r{n} 1 k")), Reply::Int(1));
        let before = used();
        assert_eq!(acquire(&server, "k 1000000/d").index, -2);
        assert_eq!(server.line("RL.RESERVE 1 k concurrent:1 TTL 1s")[1][0][5], Reply::Int(-2));
        let more = used() - before;
        assert!(more < 200_000, "{more} bytes of {}", server.line("MEMORY USAGE k").int());
    }
}

/// One command notes few of them; what is seen depends on none of that.
#[test]
fn a_hundred_thousand_end_together() {
    let server = Server::at_t0();
    server.config_set("lua-time-limit", "0");
    let fill = "for n=1,100000 do redis.call('RL.RESERVE','1','k','1000000/d,concurrent:200000','TTL','60s','ID','r'..n) end";
    assert!(server.call(&["EVAL", fill, "1", "k"]).error().is_none());
    let info = |name: &str| server.counter(name);
    assert_eq!((info("reservations_held"), info("reservations_expired")), (100_000, 0));
    server.clock_advance(60 * SECOND);
    assert_eq!((info("reservations_held"), info("reservations_expired")), (0, 100_000));
    let places = || server.line("RL.QUOTA k concurrent:200000")[0].field("used").int();
    assert_eq!(places(), 0);
    assert_eq!(left(&server, "k"), [] as [i64; 0]);
    let before = server.line("MEMORY USAGE k").int();
    server.line("RL.RESERVE 1 k 1000000/d,concurrent:1 TTL 60s ID new");
    assert_eq!(places(), 1);
    assert!(server.line("RL.RESERVE 1 k 1000000/d,concurrent:1 TTL 60s")[0].is_nil());
    // Each of the ended ones stands committed, noted or not.
    for n in [1, 50_000, 100_000] {
        assert_eq!(server.line(&format!("RL.RELEASE r{n} 1 k")), Reply::Int(2), "{n}");
    }
    let units = || server.line("RL.QUOTA k 1000000/d")[0].field("used").int();
    assert_eq!(units(), 99_998);
    let after = server.line("MEMORY USAGE k").int();
    assert!(after > before / 2, "{before} {after}: not all at once");
    // More than are remembered go, a few a command.
    for _ in 0..1_600 {
        acquire(&server, "k 1000000/d");
    }
    let settled = server.line("MEMORY USAGE k").int();
    assert!(settled < before / 4, "{before} {settled}");
    assert_eq!((places(), units()), (1, 99_998 + 1_600));
}

/// A reservation that has ended is remembered until its units have left the limit as it is now, on
/// replicas and after a restart, too.
#[test]
fn a_slower_limit_remembers_for_longer() {
    for (before, after, gone_s) in [
        ("bucket:60/m:name=x", "bucket:6/m:burst=60:name=x", 600),
        ("60/m:name=x", "70/h:name=x", 3600),
        ("fixed:60/m:name=x", "fixed:70/h:name=x", 3600),
        ("fixed:60/m:start=first:name=x", "fixed:70/h:start=first:name=x", 3600),
        // A day from its end.
        ("fixed:60/m:name=x", "fixed:70/ever:name=x", 86_401),
    ] {
        let mut server = Server::durable();
        let replica = server.replica();
        server.clock_set(T0);
        server.line(&format!("RL.RESERVE 3 a {before} b {before} c {before} COST 60 TTL 1s ID call"));
        server.clock_advance(SECOND);
        for key in ["a", "b", "c"] {
            server.line(&format!("RL.CHARGE {key} {after} COST 1"));
        }
        let now = T0 + (gone_s - 100).min(500) * SECOND;
        server.clock_set(now);
        // A command that finds it due, and a look that does.
        server.line(&format!("RL.CHARGE b {after} COST 1"));
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        crate::harness::assert_survives_kill(&mut server, Some(now));
        for key in ["a", "b"] {
            let used = || crate::limits::fixtures::used(&server, key, after)[0];
            let before = used();
            assert_eq!(
                server.line(&format!("RL.COMMIT call 1 {key} COST 50")),
                Reply::Int(2),
                "{after} {key}"
            );
            assert_eq!(before - used(), 10, "{after} {key}");
        }
        // What has left is forgotten.
        server.clock_set(T0 + gone_s * SECOND + 100 * SECOND);
        assert_eq!(server.line("RL.COMMIT call 1 c COST 50"), Reply::Int(0), "{after}");
    }
}
