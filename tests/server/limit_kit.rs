//! A server for limits, whose clock stands at a time that is easy on the eye.

use crate::harness::Server;

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
pub fn six(server: &Server, command: &str) -> Vec<i64> {
    server.line(&format!("RL.ACQUIRE {command}")).to_ints()
}
