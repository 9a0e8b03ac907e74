//! The wall clock of a server steps back by an hour, as an administrator or a bad time server steps
//! it, while nobody sends anything. What the module does by time goes on at once.

use crate::harness::{Reply, Server, cluster_of, eventually, move_wall_clock, with_wall_clock};
use std::time::Duration;

/// Moves the wall clock of a server to an hour before that of the machine.
fn step_back(server: &Server) {
    move_wall_clock(server, -3600);
}

/// How late anybody may be on a busy machine, and far below an hour.
const SOON: Duration = Duration::from_secs(20);

/// A waiter gets what is free within one period from the step on, and a wait ends when its time has
/// passed, whatever the wall clock says.
#[test]
fn waiters_are_served_and_waits_end_after_a_step_back() {
    let server = with_wall_clock().start();
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
    eventually(SOON, "all wait", || server.counter("waiting_now") == 3);
    step_back(&server);
    for wire in &mut granted {
        let reply = wire.read_within(SOON).expect("an answer");
        // A reservation's ID stands before its keys.
        let granted = if reply.items().len() == 2 { &reply[1][0][0] } else { &reply[0] };
        assert_eq!(*granted, Reply::Int(1), "{reply:?}");
    }
    let reply = denied.read_within(SOON).expect("an answer");
    assert_eq!(reply[0], Reply::Int(0), "{reply:?}");
    assert_eq!(server.counter("waiting_now"), 0);
}

/// A node that stepped back still tells its policies to one that returns, which says that they agree.
#[test]
fn policies_reach_a_node_that_returns_after_a_step_back() {
    let mut cluster = cluster_of(&with_wall_clock(), 3, 0);
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
        cluster.nodes.iter().all(|node| node.counter("policies_disagreeing_nodes") == 0)
    });
}
