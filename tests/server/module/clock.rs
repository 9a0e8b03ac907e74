//! The wall clock of a server steps back by an hour, as an administrator or a bad time server steps
//! it, while nobody sends anything. What the module does by time goes on at once.

use crate::harness::{Builder, Program, Reply, Server, c_library, cluster_of, eventually};
use std::{
    fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::LazyLock, time::Duration,
};

/// A program that runs the server under test with a wall clock that a test can move.
static WITH_CLOCK: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let (folder, library) = c_library("server/module/clock.c");
    let wrapper = folder.path().join("server");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != redis.conf ] || head -c 8 /dev/zero >moved\nLD_PRELOAD='{}' exec '{}' \"$@\"\n",
        library.display(),
        Program::under_test().path.display()
    );
    fs::write(&wrapper, script).expect("room");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("our own file");
    (folder, wrapper)
});

/// A server to be, without the debug clock.
fn builder() -> Builder {
    Server::builder().program(&WITH_CLOCK.1)
}

/// Moves the wall clock of a server to an hour before that of the machine.
fn step_back(server: &Server) {
    let mut moved = fs::OpenOptions::new().write(true).open(server.dir().join("moved")).expect("its file");
    moved.write_all(&(-3600_i64).to_ne_bytes()).expect("room");
}

/// How late anybody may be on a busy machine, and far below an hour.
const SOON: Duration = Duration::from_secs(20);

/// A waiter gets what is free within one period from the step on, and a wait ends when its time has
/// passed, whatever the wall clock says.
#[test]
fn waiters_are_served_and_waits_end_after_a_step_back() {
    let server = builder().start();
    server.line("RL.ACQUIRE soon 1/5s");
    server.line("RL.ACQUIRE late 1/h");
    server.line("RL.RESERVE 1 place concurrent:1 TTL 5s ID a");
    let waits = |line: &str| {
        let mut wire = server.wire();
        wire.send_line(line);
        wire
    };
    let mut granted = [
        waits("RL.ACQUIRE soon 1/5s WAIT 30s"),
        waits("RL.RESERVE 1 place concurrent:1 TTL 5s ID b WAIT 30s"),
    ];
    let mut denied = waits("RL.ACQUIRE late 1/h WAIT 5s");
    eventually(SOON, "all wait", || server.info_field("floodgate", "floodgate_waiting_now") == "3");
    step_back(&server);
    for wire in &mut granted {
        let reply = wire.read_within(SOON).expect("an answer");
        // A reservation's ID stands before its keys.
        let granted = if reply.items().len() == 2 { &reply[1][0][0] } else { &reply[0] };
        assert_eq!(*granted, Reply::Int(1), "{reply:?}");
    }
    let reply = denied.read_within(SOON).expect("an answer");
    assert_eq!(reply[0], Reply::Int(0), "{reply:?}");
    assert_eq!(server.info_field("floodgate", "floodgate_waiting_now"), "0");
}

/// A node that stepped back still tells its policies to one that returns, which says that they agree.
#[test]
fn policies_reach_a_node_that_returns_after_a_step_back() {
    let mut cluster = cluster_of(&builder(), 3, 0);
    for node in &cluster.nodes[1..] {
        step_back(node);
    }
    cluster.nodes[0].kill9();
    cluster.nodes[1].ok("RL.POLICY SET missed 1/s");
    cluster.nodes[0].restart();
    eventually(SOON, "the node that returns has the policy", || {
        !cluster.nodes[0].line("RL.POLICY GET missed").is_nil()
    });
    eventually(SOON, "all nodes are known to agree", || {
        cluster
            .nodes
            .iter()
            .all(|node| node.info_field("floodgate", "floodgate_policies_disagreeing_nodes") == "0")
    });
}
