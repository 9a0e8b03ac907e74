//! RL.REFUND: what comes back, and never more than was used.

use crate::harness::{Reply, Server, assert_error, assert_error_prefix};
use crate::support::{denied, granted};

#[test]
fn gives_back_what_is_still_counted() {
    let server = Server::at_t0();
    for limits in ["10/m", "bucket:10/m", "fixed:10/m", "100/m", "10/m,20/h"] {
        server.ok("FLUSHALL");
        let ask = |tail: &str| server.line(&format!("RL.ACQUIRE k {limits} {tail}")).rate_limit();
        assert_eq!(server.line("RL.REFUND k 5"), Reply::Int(0), "{limits}: no key");
        let full = ask("COST 6").remaining;
        assert_eq!(server.line("RL.REFUND k 2"), Reply::Int(2), "{limits}");
        assert_eq!(ask("COST 1").remaining, full + 1, "{limits}");
        assert_eq!(server.line("RL.REFUND k 1000000000000"), Reply::Int(5), "{limits}");
        // Full again: the key equals a fresh one and is gone.
        assert_eq!(server.line("EXISTS k"), Reply::Int(0), "{limits}");
        assert_eq!(server.line("RL.REFUND k 1"), Reply::Int(0), "{limits}");
        // What has expired is not given back.
        ask("COST 3");
        server.clock_advance(3 * 3_600_000_000);
        assert_eq!(server.line("RL.REFUND k 3"), Reply::Int(0), "{limits}");
    }
}

#[test]
fn the_newest_units_come_back_first() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 10/m COST 5");
    server.clock_advance(30_000_000);
    server.line("RL.ACQUIRE k 10/m COST 5");
    assert_eq!(server.line("RL.REFUND k 5"), Reply::Int(5));
    // What is left was taken at the start, and is free 30 seconds from now.
    assert_eq!(
        server.line("RL.ACQUIRE k 10/m COST 6").rate_limit(),
        denied().limit(10).remaining(5).retry_ms(30_000).reset_ms(30_000)
    );
}

#[test]
fn the_most_of_any_limit_is_told() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 10/s,10/h COST 4");
    server.clock_advance(2_000_000);
    assert_eq!(server.line("RL.REFUND k 3"), Reply::Int(3));
    assert_eq!(
        server.line("RL.ACQUIRE k 10/s,10/h").rate_limit(),
        granted(1).limit(10).remaining(8).reset_ms(3_600_000).index(1)
    );
}

#[test]
fn a_blocked_key_takes_refunds() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 10/m COST 4");
    server.ok("RL.BLOCK k FOREVER");
    assert_eq!(server.line("RL.REFUND k 4"), Reply::Int(4));
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(1));
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
}

#[test]
fn refuses_what_is_no_number() {
    let server = Server::start();
    server.line("RL.ACQUIRE k 10/m");
    for n in ["0", "-1", "x", "1.5", "1000000000001", "99999999999999999999999"] {
        assert_error(
            &server.line(&format!("RL.REFUND k {n}")),
            "ERR n must be a whole number from 1 to 1000000000000; usage: RL.REFUND key n [limits]",
        );
    }
    assert_error_prefix(&server.line("RL.REFUND k 1 10/m 2"), "ERR wrong number of arguments for ");
}
