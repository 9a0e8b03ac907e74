//! Breakers outlive their server: replicas, failover, AOF, RDB, COPY, RESTORE.

use crate::breakers::fixtures::{Key, digest, written};
use crate::harness::{Reply, Server, T0, assert_same_data, call, snapshot, wait_synced};
use crate::support::crc64;

const BREAKER: &str = "3:open=10s:probes=2:lease=20s:ramp=30s:backoff=2";

/// The tokens that are still out, by key.
struct Tokens {
    closed: String,
    trial: String,
    stale: String,
}

/// One key in each state.
fn one_in_each_state(server: &Server) -> Tokens {
    let key = |name| Key::new(server, name, BREAKER);
    let closed = key("closed");
    closed.run("ffsf");
    let closed = closed.admit();
    let half = key("half");
    let stale = half.admit();
    half.run("fff");
    let ramp = key("ramp");
    ramp.run("fff");
    ramp.wait_ms(10_000);
    let trial = half.admit();
    let (one, two) = (ramp.admit(), ramp.admit());
    assert!(ramp.ok(&one) && ramp.ok(&two));
    ramp.wait_ms(3000);
    ramp.acquire();
    assert_eq!(key("open").run("fff"), "cco");
    server.ok("CB.FORCE forced_open OPEN FOR 100s REASON why");
    server.ok("CB.FORCE forced_closed CLOSED");
    server.ok("CB.PIN pinned 50%/100calls:slow=1s FOR 1h");
    Key::new(server, "pinned", "5").run("sfl");
    Key::new(server, "slices", "50%/60s:slow=1s").run("sflLs");
    Tokens { closed, trial, stale }
}

/// Everything that the next calls show, 3 s after the last one above.
fn goes_on(server: &Server, tokens: &Tokens) {
    server.clock_set(T0 + 16_000_000);
    let key = |name| Key::new(server, name, BREAKER);
    assert_eq!(key("open").deny(), 7000);
    assert_eq!((key("half").state(), key("half").number("trials_in_flight")), ("half-open".into(), 1));
    assert_eq!(key("forced_open").deny(), 97_000);
    assert_eq!(key("forced_open").field("forced").field("reason"), Reply::bulk("why"));
    key("forced_closed").admit();
    assert_eq!(server.line("CB.STATE pinned").field("source").text(), "pin");
    assert_eq!(server.line("CB.STATE pinned").field("slow").int(), 1);
    assert_eq!(server.line("CB.STATE slices").field("failures").int(), 2);
    // Tokens of before settle, once; stale ones stay stale.
    assert!(!key("half").fail(&tokens.stale));
    assert!(key("half").ok(&tokens.trial) && !key("half").ok(&tokens.trial));
    let second = key("half").admit();
    assert_eq!(key("half").deny(), 20_000);
    assert!(key("half").ok(&second));
    assert_eq!(key("half").state(), "closed");
    assert!(key("closed").fail(&tokens.closed));
    assert_eq!(key("closed").number("failures"), 2);
    assert_eq!(key("closed").run("f"), "o");
    server.line("DEL closed");
    assert!(!key("closed").fail(&tokens.closed));
    let fresh = key("closed").admit();
    assert_ne!(fresh, tokens.closed);
    // The ramp goes on from where it was: 6 s of 30.
    let admitted: i64 = (0..10).map(|_| key("ramp").acquire()[0].int()).sum();
    assert_eq!(admitted, 2);
}

#[test]
fn a_promoted_replica_carries_on() {
    let master = Server::at_t0();
    let early = master.replica();
    let tokens = one_in_each_state(&master);
    let late = master.replica();
    for replica in [&early, &late] {
        wait_synced(&master, replica);
        assert_same_data(&master, replica);
    }
    for replica in [&early, &late] {
        replica.ok("REPLICAOF NO ONE");
        goes_on(replica, &tokens);
    }
}

#[test]
fn kill_9_loses_nothing() {
    for preamble in ["yes", "no"] {
        let settings = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble];
        let mut server = Server::with(&settings);
        server.clock_set(T0);
        let tokens = one_in_each_state(&server);
        let before = snapshot(&server);
        for rewritten in [false, true] {
            if rewritten {
                server.rewrite_aof();
            }
            server.kill9();
            server.restart();
            server.clock_set(T0 + 13_000_000);
            assert_eq!(snapshot(&server), before, "preamble {preamble}, rewritten {rewritten}");
        }
        goes_on(&server, &tokens);
    }
}

#[test]
fn expiry_times_travel_too() {
    let mut server = Server::durable_with(&["--aof-use-rdb-preamble", "no"]);
    let replica = server.replica();
    server.line("CB.REPORT a FAIL BREAKER 5/60s:idle=1h");
    server.line("CB.REPORT b FAIL BREAKER 1:open=5h:maxopen=9h");
    server.ok("CB.FORCE c OPEN");
    server.ok("CB.FORCE d OPEN FOR 9h");
    server.ok("CB.PIN a 6/60s FOR 2h");
    server.line("CB.ACQUIRE e LIMIT f 10/h");
    server.line("RL.ACQUIRE bucket bucket:10/h");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let before = snapshot(&server);
    server.rewrite_aof();
    server.restart();
    assert_eq!(snapshot(&server), before);
    server.stop_save();
    server.restart();
    assert_eq!(snapshot(&server), before);
}

#[test]
fn copies_dumps_and_names_carry_the_state() {
    let server = Server::at_t0();
    let tokens = one_in_each_state(&server);
    for name in ["closed", "half", "ramp", "open", "forced_open", "forced_closed", "pinned", "slices"] {
        let own = digest(&server, name);
        assert_eq!(server.call(&["TYPE", name]), Reply::Simple("cbcircuit".into()));
        let dump = server.call(&["DUMP", name]).bytes().to_vec();
        assert_eq!(call!(server, "RESTORE", "restored", 0, dump.clone(), "REPLACE"), Reply::ok());
        assert_eq!(digest(&server, "restored"), own, "{name}");
        assert_eq!(server.call(&["COPY", name, "copied", "REPLACE"]), Reply::Int(1));
        assert_eq!(digest(&server, "copied"), own, "{name}");
        assert_eq!(server.call(&["RENAME", "copied", "renamed"]), Reply::ok());
        assert_eq!(digest(&server, "renamed"), own, "{name}");
        assert!(server.call(&["MEMORY", "USAGE", name]).int() > 64);
        // A copy lives its own life.
        server.call(&["CB.REPORT", "renamed", "FAIL"]);
        server.call(&["CB.RESET", "renamed"]);
        assert_eq!(digest(&server, name), own);
        assert_eq!(dump[dump.len() - 8..], crc64(&dump[..dump.len() - 8]).to_le_bytes());
        // No changed byte crashes the server or makes it lie about the payload.
        for at in 0..dump.len() - 10 {
            for bit in [0, 3, 7] {
                let mut forged = dump.clone();
                forged[at] ^= 1 << bit;
                let body = forged.len() - 8;
                let sum = crc64(&forged[..body]);
                forged[body..].copy_from_slice(&sum.to_le_bytes());
                if call!(server, "RESTORE", "forged", 0, forged, "REPLACE") == Reply::ok() {
                    for command in [
                        "CB.STATE forged",
                        "CB.ACQUIRE forged",
                        "CB.REPORT forged FAIL",
                        "RL.ACQUIRE forged 1/s",
                    ] {
                        server.line(command);
                    }
                }
            }
        }
        server.line("DEL forged");
    }
    assert_eq!(server.line("SCAN 0 TYPE cbcircuit COUNT 1000")[1].items().len(), 10);
    assert_eq!(server.line("OBJECT ENCODING half"), Reply::bulk("raw"));
    server.line("DEL restored renamed");
    goes_on(&server, &tokens);
}

/// A token of an epoch that was before means nothing in one that began since an older copy of the key
/// came back.
#[test]
fn epochs_do_not_repeat_when_an_older_copy_comes_back() {
    let server = Server::at_t0();
    let replica = server.replica();
    let token = |command: &str| server.line(command)[2].text();
    let report = |command: &str| server.line(command)[0].int();
    let dump = |key: &str| server.call(&["DUMP", key]).bytes().to_vec();
    let restore = |key: &str, payload: &[u8]| {
        let command: [&[u8]; 5] = [b"RESTORE", key.as_bytes(), b"0", payload, b"REPLACE"];
        assert_eq!(server.call(&command), Reply::ok());
    };
    // A force that ends is found later.
    server.ok("CB.FORCE k OPEN FOR 300ms");
    let payload = dump("k");
    server.clock_advance(500_000);
    let stale = token("CB.ACQUIRE k 1:open=100ms");
    assert_eq!(report("CB.REPORT k FAIL"), 1);
    restore("k", &payload);
    assert_ne!(token("CB.ACQUIRE k 1:open=100ms"), stale);
    assert_eq!(report(&format!("CB.REPORT k FAIL TOKEN {stale}")), 0);
    // So is a trial that was lost.
    assert_eq!(report("CB.REPORT lost FAIL BREAKER 1:open=1s:lease=1s"), 1);
    server.clock_advance(1_000_000);
    token("CB.ACQUIRE lost 1:open=1s:lease=1s");
    let payload = dump("lost");
    server.clock_advance(2_500_000);
    let epoch = |key: &str| server.line(&format!("CB.STATE {key}")).field("epoch").int();
    assert_eq!(report("CB.REPORT lost FAIL"), 0);
    let before = epoch("lost");
    restore("lost", &payload);
    assert_eq!(report("CB.REPORT lost FAIL"), 0);
    assert!(epoch("lost") > before);
    // The clock stepped back.
    server.clock_set(T0 + 3_600_000_000);
    token("CB.ACQUIRE b 1:open=1s");
    server.clock_set(T0);
    let trial = || {
        assert_eq!(report("CB.REPORT b FAIL"), 1);
        server.clock_advance(1_000_000);
        token("CB.ACQUIRE b 1:open=1s")
    };
    let payload = dump("b");
    let stale = trial();
    restore("b", &payload);
    assert_ne!(trial(), stale);
    assert_eq!(report(&format!("CB.REPORT b FAIL TOKEN {stale}")), 0);
    // A copy takes the place of the key.
    token("CB.ACQUIRE {c} 1");
    if server.at_least(6, 2) {
        server.line("COPY {c} {c}old");
        assert_eq!(server.line("CB.RESET {c}").int(), 1);
        let stale = token("CB.ACQUIRE {c} 1");
        server.ok("RENAME {c}old {c}");
        assert_eq!(server.line("CB.RESET {c}").int(), 1);
        assert_ne!(token("CB.ACQUIRE {c} 1"), stale);
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn a_breaker_key_takes_at_most_400_bytes() {
    let server = Server::start();
    let used = || server.memory_without_clients();
    server.line("CB.ACQUIRE warm 50%/60s");
    let fill = |from: i32, to: i32| {
        let mut wire = server.wire();
        let commands: Vec<_> =
            (from..to).map(|n| format!("CB.REPORT breaker:{n:06} OK BREAKER 50%/60s")).collect();
        for part in commands.chunks(1000) {
            wire.lines(part);
        }
    };
    // From one full hash table to the next: each key with its share of it.
    fill(0, 16_383);
    let before = used();
    fill(16_383, 32_767);
    let each = (used() - before) / 16_384;
    // The allocator of Redis has more sizes than that of the C library, with which some
    // servers are built.
    let most = if server.info_field("memory", "mem_allocator") == "libc" { 416 } else { 400 };
    assert!(each <= most, "{each} bytes a key");
    assert_eq!(server.counter("breakers_closed"), 32_768);
    server.line("FLUSHALL SYNC");
    assert_eq!(server.counter("breakers_closed"), 0);
}

#[test]
fn clear_takes_breakers_but_not_the_operators_word() {
    let server = Server::at_t0();
    let replica = server.replica();
    for n in 0..30 {
        server.line(&format!("CB.ACQUIRE b{n}"));
        server.line(&format!("RL.ACQUIRE l{n} 5/h"));
    }
    server.ok("CB.PIN pinned 5");
    server.ok("CB.FORCE forced OPEN");
    server.ok("CB.PIN lapsed 5 FOR 1s");
    server.line("SET text x");
    server.clock_advance(1_000_000);
    let before = written(&server);
    assert_eq!(
        server.line("RL.CLEAR 0 MATCH b1* COUNT 1000"),
        Reply::Array(vec![Reply::bulk("0"), Reply::Int(11)])
    );
    assert!(written(&server) > before);
    assert_eq!(server.line("RL.CLEAR 0 COUNT 1000")[1].int(), 19 + 30 + 1);
    let mut left: Vec<_> = server.line("KEYS *").items().iter().map(Reply::text).collect();
    left.sort();
    assert_eq!(left, ["forced", "pinned", "text"]);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}
