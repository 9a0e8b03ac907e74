//! What the tests of limits ask most.

use crate::harness::Server;
use crate::support::{ExpectedReply, RateLimitReply};

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
