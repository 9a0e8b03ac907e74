//! What the server refuses to clients (too few replicas, a disk that fails, memory at its
//! limit, a pause) it refuses to RL.POLICY SET and to our timers too; what only looks is
//! never held up.

use crate::harness::{Reply, Server, Wire, assert_error_prefix, call, eventually};
use crate::queue::fixtures::{answered, used, waits};
use std::time::Duration;

/// Long enough for a timer that may write to have written.
const WHILE: Duration = Duration::from_millis(150);

type Door = (&'static str, fn(&Server), fn(&Server));

/// The error behind each door, and how it is shut and opened.
fn doors() -> Vec<Door> {
    vec![
        (
            "NOREPLICAS",
            |server| server.config_set("min-replicas-to-write", "1"),
            |server| server.config_set("min-replicas-to-write", "0"),
        ),
        (
            "MISCONF",
            |server| {
                // The save fails, for its file would be a folder.
                std::fs::create_dir_all(server.dir().join("dump.rdb")).expect("a folder");
                server.config_set("save", "3600 1");
                server.line("BGSAVE");
                eventually(Duration::from_secs(30), "a failed save", || {
                    server.info_field("persistence", "rdb_last_bgsave_status") == "err"
                });
            },
            |server| server.config_set("stop-writes-on-bgsave-error", "no"),
        ),
        ("OOM", |server| server.config_set("maxmemory", "1"), |server| server.config_set("maxmemory", "0")),
    ]
}

#[test]
fn policies_and_waiters_meet_the_door_that_clients_meet() {
    for (error, shut, open) in doors() {
        let server = Server::start();
        server.ok("RL.POLICY SET kept 3/h PREFIX kept:");
        server.line("RL.ACQUIRE k 10/250ms COST 10");
        let mut waiter = waits(&server, "RL.ACQUIRE k 10/250ms COST 4 WAIT 30s");
        shut(&server);
        assert_error_prefix(&server.line("SET plain text"), error);
        for command in ["RL.POLICY SET new 5/s", "RL.POLICY IMPORT []", "RL.ACQUIRE other 5/s"] {
            assert_error_prefix(&server.line(command), error);
        }
        // What only looks is answered.
        assert_eq!(server.line("RL.POLICY GET kept").field("limits"), Reply::bulk("3/h"));
        assert_eq!(server.line("RL.POLICY LIST").field("policies").items().len(), 1);
        assert!(server.line("RL.POLICY EXPORT").text().contains("kept"));
        std::thread::sleep(Duration::from_millis(250));
        waiter.assert_blocked_for(WHILE);
        open(&server);
        assert_eq!(answered(&mut waiter).granted, 4, "{error}");
        assert_eq!(used(&server, "k"), 4);
        server.ok("RL.POLICY SET new 5/s");
    }
}

#[test]
fn a_waiter_whose_time_is_up_behind_a_door_is_told_so() {
    let server = Server::start();
    server.line("RL.ACQUIRE k 10/h COST 10 TRACK");
    let mut waiter = waits(&server, "RL.ACQUIRE k 10/h WAIT 60ms");
    server.config_set("min-replicas-to-write", "1");
    assert_eq!(answered(&mut waiter).granted, 0);
    let denied = || server.line("RL.STATS k").field("total").field("denied").int();
    std::thread::sleep(WHILE);
    assert_eq!(denied(), 0, "counting is a write");
    server.config_set("min-replicas-to-write", "0");
    eventually(Duration::from_secs(30), "the denial is counted", || denied() == 1);
}

/// Whose units are back, but may not be given out, is told what is left: nobody took them.
#[test]
fn a_waiter_whose_time_is_up_while_writes_are_refused_is_told_what_is_left() {
    let server = Server::start();
    server.line("RL.ACQUIRE k 5/1500ms COST 5");
    let mut waiter = waits(&server, "RL.ACQUIRE k 5/1500ms WAIT 2200ms");
    server.line("RL.RESERVE 1 p concurrent:1 TTL 1500ms");
    let mut place = server.wire();
    place.send_line("RL.RESERVE 1 p concurrent:1 TTL 1m WAIT 2200ms");
    eventually(Duration::from_secs(30), "the second waits", || server.line("RL.QUEUE p").to_ints()[0] == 1);
    server.config_set("min-replicas-to-write", "1");
    let told = answered(&mut waiter);
    assert_eq!((told.granted, told.remaining, told.retry_after_ms, told.reset_after_ms), (0, 5, 1, 0));
    let told = place.read();
    let told = told.items()[1].items()[0].rate_limit();
    assert_eq!((told.granted, told.remaining, told.retry_after_ms, told.reset_after_ms), (0, 1, 1, 0));
}

#[test]
fn looking_at_policies_is_a_read() {
    let server = Server::start();
    server.ok("RL.POLICY SET kept 3/h");
    if !server.at_least(7, 0) {
        // There are no subcommands: RL.POLICY is one command, as before.
        return;
    }
    let mut wire: Wire = server.wire();
    server.line("CLIENT PAUSE 60000 WRITE");
    for command in ["RL.POLICY GET kept", "RL.POLICY LIST", "RL.POLICY EXPORT", "RL.POLICY HELP"] {
        wire.send_line(command);
        let reply = wire.read_within(Duration::from_secs(30)).expect("an answer at once");
        assert!(reply.error().is_none(), "{command}: {reply:?}");
    }
    wire.send_line("RL.POLICY SET kept 4/h");
    wire.assert_blocked_for(WHILE);
    server.line("CLIENT UNPAUSE");
    assert_eq!(wire.read(), Reply::ok());
    let script = |command: &str| call!(server, "EVAL_RO", format!("return redis.call({command})"), "0");
    assert_eq!(script("'RL.POLICY','GET','kept'").items().len(), 8);
    assert!(script("'RL.POLICY','EXPORT'").text().contains("kept"));
    assert!(script("'RL.POLICY','SET','kept','5/h'").error().is_some());
    // Who may only look.
    server.ok("ACL SETUSER guest on nopass -@all +rl.policy|get");
    wire.line("AUTH guest x");
    assert_eq!(wire.line("RL.POLICY GET kept").field("limits"), Reply::bulk("4/h"));
    assert_error_prefix(&wire.line("RL.POLICY SET kept 5/h"), "NOPERM");
    let replica = server.replica();
    assert_eq!(replica.line("RL.POLICY GET kept").field("limits"), Reply::bulk("4/h"));
    assert_error_prefix(&replica.line("RL.POLICY SET kept 5/h"), "READONLY");
}

#[test]
fn memory_at_its_limit_refuses_reports_and_records_that_create() {
    let server = Server::start();
    server.line("CB.ACQUIRE there 3");
    server.line("RL.RECORD counted OK");
    server.config_set("maxmemory", "1");
    for n in 0..50 {
        assert_error_prefix(&server.line(&format!("CB.REPORT new:{n} FAIL BREAKER 3")), "OOM");
        assert_error_prefix(&server.line(&format!("RL.RECORD new:{n} FAIL")), "OOM");
    }
    assert_eq!(server.line("DBSIZE").int(), 2);
    // What is there is reported on; a stale report creates nothing.
    assert_eq!(server.line("CB.REPORT there FAIL")[0], Reply::Int(1));
    assert_eq!(server.line("CB.REPORT gone FAIL TOKEN c-1")[0], Reply::Int(0));
    server.ok("RL.RECORD counted FAIL");
    // Where keys are evicted there is room again.
    server.config_set("maxmemory", "0");
    assert_eq!(server.line("CB.REPORT new:1 FAIL BREAKER 3")[0], Reply::Int(1));
}

#[test]
fn an_error_inside_leaves_a_line_in_the_log() {
    let server = Server::start();
    assert_error_prefix(&server.line("RL.DEBUG PANIC"), "ERR internal error");
    assert_eq!(server.line("RL.ACQUIRE k 5/m").rate_limit().granted, 1);
    let log = server.log();
    let line =
        log.lines().find(|line| line.contains("RL.DEBUG PANIC was called")).expect("a line in the log");
    assert!(line.contains("<floodgate> internal error") && line.contains("debug.rs"), "{line}");
}
