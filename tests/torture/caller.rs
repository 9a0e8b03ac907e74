//! An untrusted caller: one who may call what takes, and means harm.

use std::{thread, time::Duration};

use crate::{
    harness::{Reply, Server, Wire, assert_error_prefix, call, eventually},
    size::{record, tries},
};

/// A key for each request: what they hold goes with their period, nothing stays.
#[test]
fn floods_of_keys_leave_nothing() {
    let keys = tries(20_000, 2_000_000);
    let server = Server::start();
    let memory = || server.info_field("memory", "used_memory").parse::<usize>().expect("a number");
    let requests: Vec<Vec<String>> = (0..1000)
        .map(|n| {
            let limits = ["10/s", "bucket:5/s", "1000/s", "fixed:3/s", "2/s,fixed:9/2s"][n % 5];
            ["RL.ACQUIRE".to_owned(), String::new(), limits.to_owned()].into()
        })
        .collect();
    let mut wire = server.wire();
    let before = memory();
    for round in 0..keys.div_ceil(1000) {
        let batch: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(n, request)| vec![request[0].clone(), format!("{round}:{n}"), request[2].clone()])
            .collect();
        assert!(wire.pipeline(&batch).iter().all(|reply| reply[0] == Reply::Int(1)));
    }
    eventually(Duration::from_secs(60), "every key has expired", || server.line("DBSIZE") == Reply::Int(0));
    let left = memory().saturating_sub(before);
    assert!(left < 4_000_000, "{left} bytes are left of {keys} keys");
    record("keys of a flood, all expired", keys, "nothing");
}

/// Limits of the caller's own making: each is remembered only while a key has it.
#[test]
fn floods_of_limits_leave_nothing() {
    let limits = tries(20_000, 1_000_000);
    let server = Server::start();
    let memory = || server.info_field("memory", "used_memory").parse::<usize>().expect("a number");
    let mut wire = server.wire();
    let mut lap = |from: usize| {
        for start in (from..from + limits).step_by(500) {
            let batch: Vec<Vec<String>> = (start..start + 500)
                .map(|n| {
                    let name = format!("{n:0>60}");
                    vec!["RL.ACQUIRE".into(), "k".into(), format!("{}/h:name=n{name}", 1 + n % 1_000_000)]
                })
                .collect();
            for reply in wire.pipeline(&batch) {
                // A key holds only so many limits that are no longer listed.
                assert!(reply.error().is_none_or(|text| text.starts_with("ERR ")), "{reply:?}");
            }
            wire.line("DEL k");
        }
    };
    lap(0);
    let before = memory();
    lap(limits);
    let left = memory().saturating_sub(before);
    assert!(left < 4_000_000, "{left} bytes are left of {limits} limits");
    record("limits of a flood", limits * 2, "nothing");
}

fn count(n: usize) -> i64 {
    i64::try_from(n).expect("few")
}

/// More waiters than a line or the server may hold: the rest is denied at once,
/// nobody is forgotten, and the server stays quick.
#[test]
fn floods_of_waiters_end_at_the_caps() {
    let waiters = tries(300, 4_000);
    let (line, all) = (count(waiters / 4), count(waiters / 2));
    let server = Server::builder()
        .args(["--maxclients", "12000"])
        .module_args(["queue-max", &line.to_string(), "waiters-max", &all.to_string()])
        .start();
    let keys = ["a", "b", "c"];
    for key in keys {
        server.line(&format!("RL.ACQUIRE {key} 1/366d"));
    }
    let mut wires: Vec<(Wire, &str)> = Vec::new();
    for n in 0..waiters {
        let Ok(mut wire) = Wire::connect(server.port()) else { break };
        let key = keys[n % 2];
        wire.send_line(&format!("RL.ACQUIRE {key} 1/366d WAIT 30s"));
        wires.push((wire, key));
    }
    // One more than the lines hold is denied at once, on a key of its own too.
    eventually(Duration::from_secs(30), "both lines are full", || {
        keys[..2].iter().all(|key| server.line(&format!("RL.QUEUE {key}"))[0] == Reply::Int(line))
    });
    assert_eq!(server.line("RL.ACQUIRE a 1/366d WAIT 30s").rate_limit().granted, 0);
    assert_eq!(server.line("RL.ACQUIRE c 1/366d WAIT 30s").rate_limit().granted, 0);
    assert_error_prefix(&server.line("RL.ACQUIRE c 1/366d WAIT 31s"), "ERR WAIT must be ");
    let denied = wires.iter_mut().filter_map(|(wire, _)| wire.read_within(Duration::from_millis(1))).count();
    assert_eq!(count(denied), count(wires.len()) - all, "the rest was denied");
    assert_eq!(server.counter("waiting_now"), all);
    // Half of those who wait hang up: their places are free.
    drop(wires.drain(..waiters / 4));
    eventually(Duration::from_secs(30), "places are free", || {
        server.line("RL.QUEUE a")[0].int() + server.line("RL.QUEUE b")[0].int() < all
    });
    drop(wires);
    eventually(Duration::from_secs(30), "nobody waits", || {
        keys.iter().all(|key| server.line(&format!("RL.QUEUE {key}"))[0] == Reply::Int(0))
    });
    record("waiters of a flood", waiters, "nothing");
}

/// Reservations that nobody settles free their places when their time is over,
/// and are forgotten when their units have left the window.
#[test]
fn reservations_never_settled_leave_nothing() {
    let rounds = tries(20, 2_000);
    let server = Server::start();
    let mut wire = server.wire();
    let mut now: i64 = 1_772_366_400_000_000;
    let mut largest = 0;
    for round in 0..rounds {
        server.clock_set(now);
        let mut held = 0;
        for n in 0..30 {
            let reply = call!(
                wire,
                "RL.RESERVE",
                1,
                "k",
                "concurrent:20,1000/h",
                "COST",
                3,
                "TTL",
                "10s",
                "ID",
                format!("{round}:{n}")
            );
            held += i64::from(!reply[0].is_nil());
        }
        assert!(held <= 20, "{held} places of 20");
        // All places are free again as soon as their time is over.
        now += 10_001_000;
        server.clock_set(now);
        let places = &server.line("RL.QUOTA k concurrent:20,1000/h")[0];
        assert_eq!(places.field("used"), Reply::Int(0), "round {round}");
        now += 60_000_000;
        largest = largest.max(server.line("MEMORY USAGE k").int());
    }
    assert!(largest < 200_000, "{largest} bytes in one key");
    now += 3_700_000_000;
    server.clock_set(now);
    assert_eq!(server.line("RL.RESERVATIONS k").items().len(), 0);
    assert_eq!(server.line("RL.QUOTA k 1000/h")[0].field("used"), Reply::Int(0));
    record("reservations never settled", rounds * 30, "nothing");
}

/// Debt is one capacity at most, whatever is said to have been used: after one
/// period more the key serves again.
#[test]
fn debt_is_one_capacity_at_most() {
    let server = Server::start();
    let start: i64 = 1_772_366_400_000_000;
    for (n, limits) in
        ["10/m", "1000/m", "bucket:10/m", "fixed:10/m", "fixed:10/m:start=first"].iter().enumerate()
    {
        server.clock_set(start);
        let key = format!("k{n}");
        for id in 0..10 {
            call!(server, "RL.RESERVE", 1, &key, limits, "COST", 1, "TTL", "1h", "ID", id);
            call!(server, "RL.COMMIT", id, 1, &key, "COST", 1_000_000_000_000_i64);
        }
        // Its own minute and that of the debt, and the slot in which they lie.
        server.clock_set(start + 2 * 61_200_000);
        let six = call!(server, "RL.ACQUIRE", &key, limits);
        assert_eq!(six[0], Reply::Int(1), "{limits}: {six:?}");
    }
    record("commits far beyond what was reserved", 50, "nothing");
}

/// Costs, counts and durations at the edge of every number.
#[test]
fn huge_costs_are_denied_or_refused() {
    let server = Server::start();
    let biggest = "1000000000000";
    for limits in ["10/s", "bucket:10/s", "fixed:10/s", &format!("{biggest}/366d"), "1/ms"] {
        let six = call!(server, "RL.ACQUIRE", "k", limits, "COST", biggest);
        assert!(six[0].int() == 0 || limits.starts_with(biggest), "{limits}: {six:?}");
        for cost in ["1000000000001", "9223372036854775808", "-1", "0", "1e12"] {
            assert_error_prefix(&call!(server, "RL.ACQUIRE", "k", limits, "COST", cost), "ERR ");
        }
        server.line("DEL k");
    }
    // A million items are not even begun.
    assert_error_prefix(&server.line("RL.BATCH ALL 1000000 k 1/s 1"), "ERR ");
    thread::sleep(Duration::from_millis(1));
    assert_eq!(server.line("PING"), Reply::Simple("PONG".into()));
}
