//! What the tests of queues share: clients that really block, and what
//! the server says of them.

use crate::harness::{Server, Wire, call, eventually};
use crate::support::RateLimitReply;
use std::{process::Command, sync::Once, time::Duration};

pub const SOON: Duration = Duration::from_secs(30);
/// Long enough for a served client's reply to have come.
pub const MOMENT: Duration = Duration::from_millis(30);

/// A new client that waits, and stands in line when this returns.
#[track_caller]
pub fn waits(server: &Server, line: &str) -> Wire {
    let before = waiting_now(server);
    let mut wire = server.wire();
    wire.send_line(line);
    eventually(SOON, line, || waiting_now(server) == before + 1);
    wire
}

pub fn waiting_now(server: &Server) -> i64 {
    counter(server, "now")
}

pub fn counter(server: &Server, name: &str) -> i64 {
    server.counter(&format!("waiting_{name}"))
}

/// The reply to a client that is answered now.
#[track_caller]
pub fn answered(wire: &mut Wire) -> RateLimitReply {
    wire.read_within(SOON).expect("an answer").rate_limit()
}

/// What is in use of the key's only limit.
#[track_caller]
pub fn used(server: &Server, key: &str) -> i64 {
    call!(server, "RL.QUOTA", key).used().first().copied().unwrap_or(0)
}

/// Length, oldest wait, head's cost.
#[track_caller]
pub fn queue(server: &Server, key: &str) -> Vec<i64> {
    call!(server, "RL.QUEUE", key).to_ints()
}

#[track_caller]
pub fn client_id(wire: &mut Wire) -> i64 {
    call!(wire, "CLIENT", "ID").int()
}

/// Lets this process open as many files as it may: a new Debian allows 1024 at
/// first, and a test with thousands of clients needs more.
pub fn many_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let of_this = std::process::id().to_string();
        let hard = Command::new("prlimit")
            .args(["--pid", &of_this, "--nofile", "--output", "HARD", "--noheadings"])
            .output();
        let hard = hard.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        if let Ok(hard) = hard {
            let _ = Command::new("prlimit").args(["--pid", &of_this, &format!("--nofile={hard}:")]).status();
        }
    });
}
