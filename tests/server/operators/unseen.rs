//! Scans, lists and the module's own looks are no use of a key: eviction and the server's figures do not
//! see them.

use std::{thread, time::Duration};

use crate::harness::{Server, call};

fn idle(server: &Server, key: &str) -> i64 {
    call!(server, "OBJECT", "IDLETIME", key).int()
}

/// Hits and misses since the start.
fn figures(server: &Server) -> [i64; 2] {
    ["keyspace_hits", "keyspace_misses"].map(|name| server.info_field("stats", name).parse().unwrap())
}

#[test]
fn scans_and_lists_are_no_use_of_a_key() {
    let server = Server::start();
    for i in 0..20 {
        call!(server, "SET", format!("session:{i}"), "x");
    }
    server.line("HSET hash f v");
    server.line("RL.ACQUIRE tracked 10/h TRACK");
    server.line("RL.ACQUIRE denied 1/h COST 2");
    server.line("RL.ACQUIRE denied 1/h");
    server.line("RL.ACQUIRE denied 1/h");
    server.ok("RL.PIN pinned 5/h");
    server.ok("RL.BLOCK blocked FOREVER");
    server.line("CB.REPORT broken FAIL BREAKER 1:open=1h");
    server.ok("CB.PIN broken:pinned 1");
    let all = ["session:7", "hash", "tracked", "denied", "pinned", "blocked", "broken", "broken:pinned"];
    thread::sleep(Duration::from_millis(2100));
    for key in all {
        assert!(idle(&server, key) >= 1, "{key}");
    }
    for command in [
        "RL.USAGE 0 COUNT 1000",
        "RL.USAGE 0 MATCH session:* COUNT 1000",
        "RL.TOP DENIED 10 NOW",
        "RL.TOP OPEN",
        "RL.TOP BLOCKED",
        "RL.TOP PINNED",
        "RL.CLEAR 0 MATCH session:* COUNT 1000",
        "RL.CLEAR 0 MATCH pinned COUNT 1000",
        "RL.CLEAR 0 MATCH blocked COUNT 1000",
    ] {
        let before = figures(&server);
        let reply = server.line(command);
        assert!(reply.error().is_none(), "{command}: {reply:?}");
        assert_eq!(figures(&server), before, "{command}");
        for key in all {
            assert!(idle(&server, key) >= 1, "{command} uses {key}");
        }
    }
    // What goes, goes all the same, and nothing else does.
    assert_eq!(server.line("RL.CLEAR 0 COUNT 1000")[1].int(), 3);
    assert_eq!(server.line("DBSIZE").int(), 24);
    assert!(idle(&server, "session:7") >= 2 && idle(&server, "pinned") >= 2);
}

#[test]
fn a_breaker_that_is_open_on_an_idle_server_is_not_used() {
    let server = Server::builder().args(["--hz", "100"]).start();
    server.line("CB.REPORT tripped FAIL BREAKER 1:open=1h");
    server.line("CB.REPORT forced OK BREAKER 5");
    server.ok("CB.FORCE forced OPEN");
    thread::sleep(Duration::from_millis(200));
    let before = figures(&server);
    thread::sleep(Duration::from_millis(3200));
    assert_eq!(figures(&server), before);
    for key in ["tripped", "forced"] {
        assert!(idle(&server, key) >= 2, "{key}: {}", idle(&server, key));
    }
    // They are looked at all the same.
    let seconds: i64 = server.counter("breaker_open_seconds_max");
    assert!(seconds >= 2, "{seconds}");
}
