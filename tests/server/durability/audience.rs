//! Where nobody listens nothing is propagated, and whoever starts to listen
//! misses nothing (D1).

use crate::{
    durability::traffic::{Clock, drive},
    harness::{Server, assert_same_data, eventually, snapshot, wait_synced},
    support::Dice,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Makes changes until the server is sure that nobody listens.
fn quiet(server: &Server) {
    for _ in 0..1100 {
        server.line("RL.ACQUIRE warm 1000000/d");
    }
    assert_eq!(server.counter("propagating"), 0);
}

/// Runs `during` while traffic falls on the server, and goes on a little after it.
fn under_traffic<T>(server: &Server, seed: u64, during: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut wire, mut dice, mut clock) = (server.wire(), Dice::new(seed), Clock::Real);
            while !done.load(Ordering::Relaxed) {
                drive(&mut wire, &mut dice, &mut clock, 20);
            }
            drive(&mut wire, &mut dice, &mut clock, 50);
        });
        let result = during();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_replica_that_joins_a_quiet_master_misses_nothing() {
    let master = Server::start();
    if !master.at_least(7, 0) {
        return;
    }
    quiet(&master);
    let replica = under_traffic(&master, 1, || {
        let replica = master.replica();
        replica.wait_link();
        replica
    });
    assert_eq!(master.counter("propagating"), 1);
    wait_synced(&master, &replica);
    assert_same_data(&master, &replica);
    // A backlog is left when it goes: who comes back reads on from there.
    let mut replica = replica;
    replica.kill9();
    for _ in 0..1100 {
        master.line("RL.ACQUIRE warm 1000000/d");
    }
    assert_eq!(master.counter("propagating"), 1);
    replica.restart();
    replica.follow(&master);
    wait_synced(&master, &replica);
    assert_same_data(&master, &replica);
}

#[test]
fn an_aof_that_is_switched_on_misses_nothing() {
    let mut server = Server::with(&["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    if !server.at_least(7, 0) {
        return;
    }
    quiet(&server);
    under_traffic(&server, 2, || {
        server.config_set("appendonly", "yes");
        eventually(Duration::from_secs(30), "the AOF stands", || {
            let info = server.info("persistence");
            info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
        });
    });
    assert_eq!(server.counter("propagating"), 1);
    let before = snapshot(&server);
    server.ok("DEBUG LOADAOF");
    let differences = before.differences(&snapshot(&server));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    server.kill9();
}

#[test]
fn a_quiet_master_that_follows_another_and_is_promoted_propagates() {
    let master = Server::start();
    if !master.at_least(7, 0) {
        return;
    }
    let other = Server::start();
    quiet(&other);
    other.follow(&master);
    other.wait_link();
    master.line("RL.ACQUIRE before 10/d");
    wait_synced(&master, &other);
    other.ok("REPLICAOF NO ONE");
    // Goes on from the backlog, without a snapshot.
    master.follow(&other);
    other.line("RL.ACQUIRE after 10/d");
    master.wait_link();
    wait_synced(&other, &master);
    assert_same_data(&other, &master);
}

#[test]
fn save_points_see_changes_that_nobody_hears_of() {
    let server = Server::start();
    let changes =
        || server.info_field("persistence", "rdb_changes_since_last_save").parse::<u64>().expect("a number");
    for _ in 0..1100 {
        server.line("RL.ACQUIRE warm 1000000/d");
    }
    let before = changes();
    server.line("RL.ACQUIRE key 5/d");
    assert_eq!(changes(), before + 1);
    server.line("RL.BATCH EACH 2 a 5/d 1 b 5/d 1");
    assert!(changes() > before + 1);
    let before = changes();
    server.line("RL.ACQUIRE key 5/d COST 5");
    assert_eq!(changes(), before, "a denial changes nothing");
}
