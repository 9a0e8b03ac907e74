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
