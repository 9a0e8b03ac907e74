//! What the fuzzers found, each as a test that fails without its fix.

use crate::harness::{Reply, Server, assert_same_data, call, wait_synced};

/// A string left by redis-cell whose time had passed was deleted on the master
/// alone, and the command failed.
#[test]
fn adopting_a_time_that_has_passed_is_the_same_on_a_replica() {
    let master = Server::start();
    let replica = master.replica();
    for (key, left) in [("granted", "17"), ("looked", "17"), ("later", "4000000000000000000")] {
        call!(master, "SET", key, left);
    }
    assert_eq!(master.line("CL.THROTTLE granted 2 3 60"), Reply::ints(&[0, 3, 2, -1, 20]));
    assert_eq!(master.line("CL.THROTTLE looked 2 3 60 0")[0], Reply::Int(0));
    assert_eq!(master.line("CL.THROTTLE later 2 3 60")[0], Reply::Int(1));
    wait_synced(&master, &replica);
    assert_same_data(&master, &replica);
    assert_eq!(master.line("TYPE granted"), Reply::Simple("ratelimit".into()));
    assert_eq!(replica.line("TYPE granted"), Reply::Simple("ratelimit".into()));
}

/// Redis 6.2 looked for a number in the empty string that stood for "no
/// policies", where there was no byte to look at: every save crashed.
#[test]
fn a_save_without_policies() {
    let server = Server::with(&["--dbfilename", "dump.rdb"]);
    server.ok("SAVE");
    server.line("RL.ACQUIRE k 5/h");
    server.ok("DEBUG RELOAD");
    assert_eq!(server.line("RL.QUOTA k")[0].field("used").int(), 1);
    wait_synced(&server, &server.replica());
}

/// While a module listens to keyspace notifications, Valkey 8.1 leaves a client
/// that calls MOVE or COPY in the other database, and its replica is told the
/// wrong one. The first client that waits makes ours listen.
#[test]
fn a_client_that_moves_keys_stays_in_its_database() {
    let master = Server::start();
    let replica = master.replica();
    master.line("RL.ACQUIRE w 1/h");
    assert_eq!(master.line("RL.ACQUIRE w 1/h WAIT 1ms").rate_limit().granted, 0);
    let mut wire = master.wire();
    assert_eq!(wire.line("SELECT 1"), Reply::ok());
    wire.line("SET moved 1");
    wire.line("SET copied 1");
    assert_eq!(wire.line("MOVE moved 0"), Reply::Int(1));
    assert_eq!(wire.line("EXISTS copied"), Reply::Int(1));
    assert_eq!(wire.line("COPY copied copy DB 0"), Reply::Int(1));
    assert_eq!(wire.line("EXISTS copied copy moved"), Reply::Int(1));
    wait_synced(&master, &replica);
    assert_same_data(&master, &replica);
}
