//! INFO floodgate: every outcome is counted once, where it belongs.

use std::collections::BTreeMap;

use crate::harness::{Server, call};

fn counters(server: &Server) -> BTreeMap<String, u64> {
    server
        .info("floodgate")
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("floodgate_")?.to_owned(), value.parse().ok()?)))
        // One command of several is timed, and a busy machine stalls the server.
        .filter(|(name, _)| {
            let by_itself = ["limit_sets", "propagating", "stall_ms_max"];
            !by_itself.contains(&name.as_str())
                && !["command_latency", "alerts"].iter().any(|start| name.starts_with(start))
        })
        .collect()
}

/// What `commands` changed.
fn counted(server: &Server, commands: &[&str]) -> Vec<(String, u64)> {
    let before = counters(server);
    for command in commands {
        server.line(command);
    }
    let after = counters(server);
    after
        .into_iter()
        .filter(|(name, n)| before[name] != *n)
        .map(|(name, n)| (name.clone(), n - before[&name]))
        .collect()
}

#[test]
fn counters_by_outcome() {
    let server = Server::at_t0();
    let check = |commands: &[&str], expected: &[(&str, u64)]| {
        let mut wanted: Vec<_> = expected.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
        wanted.sort();
        assert_eq!(counted(&server, commands), wanted, "{commands:?}");
    };
    check(
        &["RL.ACQUIRE k 10/h COST 4", "RL.ACQUIRE k 10/h COST 9 PARTIAL"],
        &[("acquire_granted", 2), ("acquire_granted_units", 10)],
    );
    check(&["RL.ACQUIRE k 10/h", "RL.ACQUIRE k 10/h COST 11"], &[("acquire_denied", 2)]);
    check(&["RL.QUOTA k", "RL.QUOTA none", "RL.QUOTA k HEADERS"], &[("quota_calls", 3)]);
    check(
        &["RL.BATCH EACH 2 b 5/h 5 b 5/h 1", "RL.BATCH ALL 2 b 5/h 1 c 5/h 1", "RL.BATCH ALL 1 c 5/h 2"],
        &[("batch_calls", 3), ("batch_granted", 2), ("batch_denied", 3)],
    );
    check(
        &["RL.REFUND b 2", "RL.REFUND b 9", "RL.REFUND b 1", "RL.REFUND none 1"],
        &[("refunds", 2), ("refunded_units", 5)],
    );
    check(
        &["RL.CHARGE charged 5/h COST 3", "RL.CHARGE charged 5/h COST 30", "RL.CHARGE charged COST 1"],
        &[("charges", 2), ("charged_units", 33)],
    );
    check(&["RL.BLOCK x FOREVER", "RL.BLOCK y FOR 1h"], &[("blocks", 2)]);
    check(
        &["RL.ACQUIRE x 5/h", "RL.BATCH EACH 2 x 5/h 1 z 5/h 1", "CL.THROTTLE y 1 1 1"],
        &[
            ("acquire_denied", 1),
            ("batch_calls", 1),
            ("batch_granted", 1),
            ("batch_denied", 1),
            ("throttle_denied", 1),
            ("blocked_denied", 3),
        ],
    );
    check(&["RL.UNBLOCK x", "RL.UNBLOCK x", "RL.UNBLOCK y"], &[("unblocks", 2)]);
    check(&["RL.PIN p 5/h", "RL.PIN q 5/h", "RL.UNPIN p", "RL.UNPIN p"], &[("pins", 2), ("unpins", 1)]);
    check(
        &[
            "RL.ACQUIRE s 1/h:shadow,1/d:shadow,9/h:name=n COST 2",
            "RL.BATCH EACH 1 s 1/h:shadow 2",
            "RL.BATCH ALL 2 s 1/h:shadow 2 t 1/h 2",
        ],
        &[
            ("acquire_granted", 1),
            ("acquire_granted_units", 2),
            ("batch_calls", 2),
            ("batch_granted", 1),
            ("batch_denied", 2),
            ("shadow_denied", 4),
        ],
    );
    check(&["RL.RESET k z none"], &[("resets", 2)]);
    server.line("FLUSHALL");
    server.line("RL.ACQUIRE k 10/h");
    check(&["RL.CLEAR 0 COUNT 1000"], &[("cleared", 1)]);
    check(
        &["CL.THROTTLE t 0 1 60", "CL.THROTTLE t 0 1 60"],
        &[("throttle_granted", 1), ("throttle_denied", 1)],
    );
    // Errors and looks at nothing count nowhere.
    check(&["RL.ACQUIRE k 10/", "RL.ACQUIRE k", "RL.BATCH ALL 1 k 10/ 1", "RL.PIN k 10/", "RL.HELP"], &[]);
}

#[test]
fn the_section_is_there_when_asked_for() {
    let server = Server::start();
    let version = server.info_field("floodgate", "floodgate_version");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let release = server.info_field("floodgate", "floodgate_tzdb");
    assert!(release.len() == 5 && release.starts_with("20"), "{release}");
    assert!(server.info("everything").contains_key("floodgate_acquire_granted"));
    assert!(!server.info("memory").contains_key("floodgate_acquire_granted"));
}

#[test]
fn a_replica_counts_what_it_applies() {
    let server = Server::start();
    let replica = server.replica();
    for i in 0..10 {
        call!(server, "RL.ACQUIRE", format!("k{i}"), "1/h");
        call!(server, "RL.ACQUIRE", format!("k{i}"), "1/h");
    }
    crate::harness::wait_synced(&server, &replica);
    let counted = counters(&replica);
    assert_eq!((counted["effects_applied"], counted["acquire_granted"]), (10, 0));
}

#[test]
fn limit_sets_are_swept() {
    let server = Server::start();
    let mut wire = server.wire();
    let sets = || server.counter("limit_sets");
    for round in 0..5 {
        let commands: Vec<_> = (0..2000).map(|i| format!("RL.ACQUIRE one 9/h:name=n{round}-{i}")).collect();
        wire.lines(&commands);
    }
    assert!(sets() < 3000, "{}", sets());
}
