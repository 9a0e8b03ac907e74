//! Limits and breakers that nobody uses any more take no memory.

use crate::harness::{Reply, Server, Wire, eventually};
use std::time::Duration;

const MANY: usize = 40_000;

fn memory(server: &Server) -> i64 {
    server.line("MEMORY PURGE");
    server.info_field("memory", "used_memory").parse().expect("a number")
}

fn flood(wire: &mut Wire, command: impl Fn(usize) -> String) {
    for chunk in (0..MANY).collect::<Vec<_>>().chunks(1000) {
        let commands: Vec<_> = chunk.iter().map(|&n| command(n)).collect();
        for reply in wire.lines(&commands) {
            assert!(reply.error().is_none(), "{reply:?}");
        }
    }
}

#[test]
fn a_flood_that_ends_leaves_nothing_behind() {
    let server = Server::start();
    let mut wire = server.wire();
    // Everything that is allocated once is.
    server.line("RL.ACQUIRE k 5/m");
    server.line("CB.ACQUIRE b 5");
    let empty = memory(&server);
    for (what, command) in [
        ("limits", (|n| format!("RL.ACQUIRE k:{n} {}/d:name=flood{n}", n + 1)) as fn(usize) -> String),
        ("breakers", |n| format!("CB.ACQUIRE b:{n} {}/{}s", n % 900 + 1, n / 900 + 1)),
    ] {
        flood(&mut wire, command);
        let full = memory(&server);
        assert!(full - empty > 5_000_000, "{what}: {}", full - empty);
        // One of the last stays.
        server.line("FLUSHALL");
        server.line(&command(MANY - 1));
        eventually(Duration::from_secs(30), what, || memory(&server) - empty < (full - empty) / 8);
    }
}

/// A payload may be large; what it brings must be what its key keeps.
#[test]
fn a_payload_brings_no_limits_that_its_key_does_not_keep() {
    let server = Server::start();
    server.line("RL.RESERVE 1 k 10/m:name=aaa TTL 1h ID one");
    let dump = server.line("DUMP k").bytes().to_vec();
    assert_eq!(server.call(&[&b"RESTORE"[..], b"copy", b"0", &dump]), Reply::ok());
    assert_eq!(server.line("RL.RESERVATIONS copy").items().len(), 1);
}
