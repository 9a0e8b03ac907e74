//! A server for limits, whose clock stands at a time that is easy on the eye.

use crate::harness::Server;
use crate::support::{ExpectedReply, RateLimitReply};

/// 2027-01-15 08:00 UTC, in microseconds.
pub const T0: i64 = 1_800_000_000_000_000;

/// A server whose clock stands at [`T0`].
#[track_caller]
pub fn at_t0() -> Server {
    let server = Server::start();
    server.clock_set(T0);
    server
}

/// The reply of RL.ACQUIRE.
#[track_caller]
pub fn acquire(server: &Server, arguments: &str) -> RateLimitReply {
    server.line(&format!("RL.ACQUIRE {arguments}")).rate_limit()
}

/// Asserts what RL.ACQUIRE replies.
#[track_caller]
pub fn assert_acquire(server: &Server, arguments: &str, expected: ExpectedReply) {
    assert_eq!(acquire(server, arguments), expected, "RL.ACQUIRE {arguments}");
}

/// The units in use, of each limit.
#[track_caller]
pub fn used(server: &Server, key: &str, limits: &str) -> Vec<i64> {
    server.line(&format!("RL.QUOTA {key} {limits}")).used()
}
