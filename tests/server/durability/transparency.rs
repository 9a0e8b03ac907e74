//! A look, and a denial with nothing to record, change nothing: no key, no
//! replication, no WATCH abort, no invalidation. What changes tells so once.

use std::time::Duration;

use crate::harness::{Reply, Server, Wire};

/// A server whose replication stream is open, with some limiters on it.
fn prepared() -> (Server, Server) {
    let server = Server::at_t0();
    let replica = server.replica();
    server.line("RL.ACQUIRE full 5/h,9/d COST 5");
    server.line("RL.ACQUIRE half bucket:10/h COST 5");
    server.ok("RL.PIN pinned 3/h");
    server.ok("RL.PIN free unlimited");
    server.line("RL.ACQUIRE free *");
    server.ok("RL.BLOCK blocked FOREVER REASON x");
    server.line("RL.ACQUIRE shadow 2/h:shadow COST 2");
    server.ok("RL.PIN pinned:hour 3/h FOR 1h");
    server.ok("RL.BLOCK blocked:hour FOR 1h REASON x");
    server.line("CB.REPORT circuit FAIL BREAKER 3");
    server.ok("CB.PIN circuit:pinned 3:open=10s");
    server.ok("CB.PIN circuit:hour 3 FOR 1h");
    // The replica's own heartbeat would move the offset.
    server.config_set("repl-ping-replica-period", "3600");
    crate::harness::wait_synced(&server, &replica);
    (server, replica)
}

/// Commands that leave everything as it was.
const QUIET: &[&str] = &[
    "RL.QUOTA full",
    "RL.QUOTA half 10/s,5/m COST 3",
    "RL.QUOTA half HEADERS",
    "RL.QUOTA blocked",
    "RL.QUOTA missing 10/s",
    "RL.QUOTA missing",
    "RL.ACQUIRE full 5/h,9/d",
    "RL.ACQUIRE full 5/h,9/d COST 4 PARTIAL",
    "RL.ACQUIRE full 5/H,9/day",
    // Denied under other limits than the last grant's.
    "RL.ACQUIRE full 5/h COST 2",
    "RL.ACQUIRE full 7/h:name=new COST 8",
    "RL.RESERVE 1 full 5/h TTL 1m",
    "RL.ACQUIRE half bucket:10/h COST 6",
    "RL.ACQUIRE half bucket:10/h COST 11",
    "RL.ACQUIRE missing 5/h COST 6",
    "RL.ACQUIRE missing unlimited COST 6",
    "RL.ACQUIRE missing 5/h:shadow COST 6",
    "RL.ACQUIRE shadow 2/h:shadow",
    "RL.ACQUIRE blocked 5/h",
    "RL.ACQUIRE blocked 6/h",
    "RL.ACQUIRE free 5/h COST 500",
    "RL.ACQUIRE missing",
    "RL.ACQUIRE missing 5/",
    "RL.BATCH EACH 3 full 5/h,9/d 1 missing 5/h 6 blocked 5/h 1",
    "RL.BATCH ALL 3 fresh 5/h 1 half bucket:10/h 1 full 5/h,9/d 1",
    "RL.BATCH ALL 2 fresh 5/h 1 fresh 5/h 5",
    "RL.BATCH EACH 1 half 5/ 1",
    "RL.REFUND missing 5",
    "RL.CHARGE missing 0/h COST 5",
    "RL.CHARGE missing concurrent:5 COST 5",
    "RL.REFUND pinned 5",
    "RL.RESET missing pinned blocked",
    "RL.UNPIN full",
    "RL.UNPIN missing",
    "RL.UNBLOCK full",
    "RL.UNBLOCK missing",
    "RL.PIN pinned 3/h",
    "RL.BLOCK blocked FOREVER REASON x",
    "RL.PIN pinned:hour 3/h FOR 1h",
    "RL.BLOCK blocked:hour FOR 1h REASON x",
    "CB.PIN circuit:pinned 3:open=10s",
    "CB.PIN circuit:pinned 3:open=10000ms",
    "CB.PIN circuit:hour 3 FOR 60m",
    "CB.UNPIN circuit",
    "CB.UNPIN missing",
    "CB.FORCE circuit AUTO",
    "CB.FORCE missing AUTO",
    "CB.RESET missing",
    "CB.STATE circuit",
    "RL.CLEAR 0 MATCH nothing*",
    "CL.THROTTLE missing 5 10 60 0",
    "CL.THROTTLE missing 5 10 60 7",
    "RL.HELP",
];

/// Commands that change a key; the second is the key.
const LOUD: &[(&str, &str)] = &[
    ("RL.ACQUIRE half bucket:10/h", "half"),
    ("RL.ACQUIRE half 7/h", "half"),
    ("RL.ACQUIRE new 5/h", "new"),
    ("RL.BATCH ALL 1 new 5/h 1", "new"),
    ("RL.BATCH EACH 2 full 5/h 1 new 5/h 1", "new"),
    ("RL.REFUND new 1", "new"),
    ("RL.CHARGE new 5/h COST 1", "new"),
    ("RL.PIN new 3/h", "new"),
    ("RL.PIN new 3/h FOR 1h", "new"),
    ("RL.UNPIN new", "new"),
    ("RL.BLOCK new FOR 1h", "new"),
    ("RL.UNBLOCK new", "new"),
    ("RL.RESET new", "new"),
    ("RL.CLEAR 0 MATCH half COUNT 1000", "half"),
    ("CL.THROTTLE throttle 5 10 60", "throttle"),
    ("CB.PIN circuit:new 3", "circuit:new"),
    ("CB.PIN circuit:new 4", "circuit:new"),
    ("CB.PIN circuit:new 4 FOR 1h", "circuit:new"),
    ("CB.PIN circuit:new 4 FOR 2h", "circuit:new"),
    ("CB.UNPIN circuit:new", "circuit:new"),
];

/// Each force and each reset begins a new epoch, so that results of before count no more, and tells of
/// the transition.
const LOUD_TRANSITIONS: &[(&str, &str)] = &[
    ("CB.FORCE circuit:new OPEN", "circuit:new"),
    ("CB.FORCE circuit:new OPEN", "circuit:new"),
    ("CB.FORCE circuit:new AUTO", "circuit:new"),
    ("CB.RESET circuit:new", "circuit:new"),
    ("CB.RESET circuit:new", "circuit:new"),
];

fn offset(server: &Server) -> i64 {
    server.info_field("replication", "master_repl_offset").parse().unwrap()
}

#[test]
fn nothing_is_replicated_when_nothing_changes() {
    let (server, replica) = prepared();
    for command in QUIET {
        let (before, keys) = (offset(&server), server.line("DBSIZE"));
        server.line(command);
        assert_eq!((offset(&server), server.line("DBSIZE")), (before, keys), "{command}");
    }
    // What changes is one command, whatever else it touches.
    let stream = |server: &Server| server.counter("effects_applied");
    for (command, _) in LOUD.iter().chain(LOUD_TRANSITIONS) {
        let (before, applied) = (offset(&server), stream(&replica));
        server.line(command);
        assert!(offset(&server) > before, "{command}");
        crate::harness::wait_synced(&server, &replica);
        let now = stream(&replica);
        let expected = i64::from(!command.starts_with("RL.CLEAR"));
        assert_eq!(now, applied + expected, "{command}");
    }
}

#[test]
fn a_replica_sees_one_command_per_change() {
    let (server, replica) = prepared();
    let seen = |name: &str| -> u64 {
        let stats = replica.info("commandstats");
        let text = stats.get(&format!("cmdstat_{name}")).cloned().unwrap_or_default();
        text.strip_prefix("calls=").and_then(|t| t.split(',').next()).map_or(0, |n| n.parse().unwrap())
    };
    for (i, (command, _)) in LOUD.iter().enumerate() {
        let before = seen("rl.effect") + seen("del") + seen("unlink");
        server.line(command);
        server.call(&["SET", &format!("marker{i}"), "x"]);
        crate::harness::wait_synced(&server, &replica);
        assert_eq!(seen("rl.effect") + seen("del") + seen("unlink"), before + 1, "{command}");
    }
    assert_eq!(seen("rl.acquire") + seen("rl.batch") + seen("rl.pin"), 0);
}

/// Whether a transaction that watches these keys goes through after `command`.
fn watched(server: &Server, keys: &str, command: &str) -> bool {
    let mut wire = server.wire();
    assert_eq!(wire.line(&format!("WATCH {keys}")), Reply::ok());
    server.line(command);
    wire.line("MULTI");
    wire.line("PING");
    !wire.line("EXEC").is_nil()
}

#[test]
fn watch_breaks_only_on_a_change() {
    let (server, _replica) = prepared();
    let all = "full half pinned free blocked shadow missing fresh pinned:hour blocked:hour circuit \
               circuit:pinned circuit:hour";
    for command in QUIET {
        assert!(watched(&server, all, command), "{command}");
    }
    for (command, key) in LOUD {
        assert!(!watched(&server, key, command), "{command}");
    }
}

/// The key names that a tracking client is told to forget by `command`.
fn invalidated(server: &Server, tracking: &mut Wire, command: &str) -> Vec<String> {
    server.line(command);
    // A key that every tracking client hears of marks the end.
    server.line("SET marker x");
    let mut names = Vec::new();
    loop {
        let push = tracking.push(Duration::from_secs(30)).expect("an invalidation");
        for name in push[1].items() {
            if *name == Reply::bulk("marker") {
                return names;
            }
            names.push(name.text());
        }
    }
}

#[test]
fn tracking_clients_hear_only_of_changes() {
    let (server, _replica) = prepared();
    let mut tracking = server.wire3();
    assert_eq!(tracking.line("CLIENT TRACKING ON BCAST"), Reply::ok());
    for command in QUIET {
        assert_eq!(invalidated(&server, &mut tracking, command), Vec::<String>::new(), "{command}");
    }
    for (command, key) in LOUD {
        assert_eq!(invalidated(&server, &mut tracking, command), [*key], "{command}");
    }
}

fn holds_push(reply: &Reply) -> bool {
    match reply {
        Reply::Push(_) => true,
        Reply::Array(items) => items.iter().any(holds_push),
        _ => false,
    }
}

#[test]
fn who_changes_keys_that_it_tracks_hears_of_them_beside_the_reply() {
    let server = Server::start();
    let mut client = server.wire3();
    assert_eq!(client.line("CLIENT TRACKING ON"), Reply::ok());
    for (command, told) in [
        ("RL.ACQUIRE a 9/h", 1),
        ("RL.ACQUIRE a 9/h TRACK", 1),
        ("RL.BATCH EACH 3 a 9/h 1 b 9/h 1 c bucket:9/h 1", 3),
        ("RL.BATCH ALL 2 a 9/h 1 b 9/h 1", 2),
        ("RL.BATCH EACH 2 d 9/h 1 d 9/h 1", 1),
        ("RL.BATCH ALL 2 d 9/h 1 d 9/h 1", 1),
        ("RL.RESERVE 2 a 9/h b 9/h TTL 1m ID one", 2),
        ("RL.COMMIT one 2 a b COST 2", 2),
        ("CB.ACQUIRE breaker 50%/60s LIMIT e 9/h", 2),
        ("CB.REPORT breaker OK", 1),
        ("CL.THROTTLE cell 9 9 60", 1),
        ("RL.REFUND a 1", 1),
        ("RL.CHARGE a 9/h COST 1", 1),
        ("RL.RESET a b", 2),
    ] {
        // What it looked at it hears of.
        for key in ["a", "b", "c", "d", "e", "cell"] {
            client.line(&format!("RL.QUOTA {key}"));
        }
        client.line("CB.STATE breaker");
        let reply = client.line(command);
        assert!(!holds_push(&reply) && reply.error().is_none(), "{command}: {reply:?}");
        assert_eq!(client.line("PING"), Reply::Simple("PONG".to_owned()), "{command}");
        let mut names = std::collections::BTreeSet::new();
        while let Some(push) = client.push(Duration::from_millis(20)) {
            names.extend(push[1].items().iter().map(Reply::text));
        }
        assert_eq!(names.len(), told, "{command}: {names:?}");
    }
}

#[test]
fn what_rl_quota_showed_is_tracked() {
    let (server, _replica) = prepared();
    let mut tracking = server.wire3();
    tracking.line("CLIENT TRACKING ON");
    tracking.line("RL.QUOTA half");
    server.line("RL.ACQUIRE half bucket:10/h COST 9");
    assert!(tracking.push(Duration::from_millis(50)).is_none());
    server.line("RL.ACQUIRE half bucket:10/h");
    let push = tracking.push(Duration::from_secs(30)).unwrap();
    assert_eq!(push[1], Reply::Array(vec![Reply::bulk("half")]));
}

#[test]
fn a_clock_that_stepped_back_is_recorded_once() {
    let (server, _replica) = prepared();
    server.line("RL.ACQUIRE back 2/h COST 2");
    server.clock_advance(-10_000_000);
    let before = offset(&server);
    assert_eq!(server.line("RL.ACQUIRE back 2/h").rate_limit().granted, 0);
    let after = offset(&server);
    assert!(after > before);
    server.line("RL.ACQUIRE back 2/h");
    assert_eq!(offset(&server), after);
    // Never denied for longer than one period after the step.
    assert_eq!(server.line("RL.ACQUIRE back 2/h").rate_limit().retry_after_ms, 3_600_000);
}

#[test]
fn keyspace_events_name_the_command() {
    let (server, _replica) = prepared();
    // The class of modules is `d`, from 7.0 on.
    if !server.at_least(7, 0) {
        return;
    }
    server.config_set("notify-keyspace-events", "Ed");
    let mut wire = server.wire3();
    wire.send_line("PSUBSCRIBE __keyevent@0__:*");
    while wire.push(Duration::from_millis(20)).is_some() {}
    // Were these heard, the first below would not be the first.
    for command in QUIET {
        server.line(command);
    }
    for (command, key) in LOUD {
        server.line(command);
        let push = wire.push(Duration::from_secs(30)).expect(command);
        let event = command.split(' ').next().unwrap().to_lowercase();
        assert_eq!(push[2], Reply::bulk(format!("__keyevent@0__:{event}")), "{command}");
        assert_eq!(push[3], Reply::bulk(key), "{command}");
    }
}

/// As the server's own commands do when they leave nothing of a key.
#[test]
fn a_key_that_a_command_empties_is_deleted_for_listeners() {
    let server = Server::start();
    server.config_set("notify-keyspace-events", "Eg");
    let mut wire = server.wire3();
    wire.send_line("PSUBSCRIBE __keyevent@0__:*");
    while wire.push(Duration::from_millis(20)).is_some() {}
    server.line("RL.ACQUIRE refunded 5/h COST 2");
    server.line("RL.REFUND refunded 1");
    server.line("RL.REFUND refunded 1");
    server.line("RL.BLOCK unblocked FOR 10s");
    server.line("RL.UNBLOCK unblocked");
    server.line("RL.ACQUIRE cleared 5/h");
    server.line("RL.CLEAR 0 MATCH cleared COUNT 1000");
    for key in ["refunded", "unblocked", "cleared"] {
        let push = wire.push(Duration::from_secs(30)).expect(key);
        assert_eq!(push[2], Reply::bulk("__keyevent@0__:del"), "{key}");
        assert_eq!(push[3], Reply::bulk(key));
    }
}
