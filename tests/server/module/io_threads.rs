//! A server with I/O threads may look for the keys of a call on one of them. Commands whose keys it
//! cannot tell by their place must not run there: Redis 8.6 and Valkey 8.1 ended on an assertion.

use crate::harness::{Server, Wire, assert_error_prefix};
use std::thread;
use std::time::Duration;

const ARGS: &[&str] = &["--io-threads", "3", "--appendonly", "yes"];
const IN_CLUSTER: &[&str] = &["--io-threads", "3", "--appendonly", "yes", "--cluster-enabled", "yes"];

/// A round of calls of which each changes something, for the connection `by`.
fn calls(by: usize, round: usize) -> [String; 7] {
    let (key, id) = (round % 50, format!("id-{by}-{round}"));
    [
        format!("RL.BATCH EACH 2 {{b{key}}}1 1000/h 1 {{b{key}}}2 1000/h 1"),
        format!("RL.RESERVE 2 {{r{key}}}1 1000/h {{r{key}}}2 1000/h TTL 1h ID {id}"),
        format!("RL.RENEW {id} TTL 2h 2 {{r{key}}}1 {{r{key}}}2"),
        format!("RL.COMMIT {id} 1 {{r{key}}}1 COST 1"),
        format!("RL.RELEASE {id} 1 {{r{key}}}2"),
        format!("CB.ACQUIRE {{c{key}}} 3:open=1s LIMIT {{c{key}}}limit 1000/h"),
        format!("RL.ACQUIRE a{key} 1000/h"),
    ]
}

/// Sends such calls over six connections at once. Fails if the server ends, or if a call fails.
fn load(server: &Server) {
    thread::scope(|scope| {
        for by in 0..6 {
            scope.spawn(move || {
                let mut wire = server.wire();
                for round in 0..60 {
                    for call in calls(by, round) {
                        let words: Vec<_> = call.split(' ').collect();
                        let reply =
                            wire.try_send(&words).and_then(|()| wire.try_read(Duration::from_secs(20)));
                        let reply = reply.ok().flatten().unwrap_or_else(|| panic!("no answer to {call}"));
                        assert!(reply.error().is_none(), "{call}: {reply:?}");
                    }
                }
            });
        }
    });
}

#[test]
fn commands_of_several_keys_run_at_once() {
    load(&Server::with(ARGS));
}

#[test]
fn commands_of_several_keys_run_at_once_in_a_cluster() {
    let server = Server::with(IN_CLUSTER);
    server.serve_all_slots();
    load(&server);
}

#[test]
fn keys_of_two_slots_are_refused() {
    let server = Server::with(IN_CLUSTER);
    server.serve_all_slots();
    for call in [
        "RL.BATCH ALL 2 a 1/s 1 b 1/s 1",
        "RL.RESERVE 2 a 1/s b 1/s TTL 1m",
        "RL.RENEW id TTL 1m 2 a b",
        "RL.COMMIT id 2 a b COST 1",
        "RL.RELEASE id 2 a b",
        "CB.ACQUIRE a 3:open=1s LIMIT b 1/s",
    ] {
        assert_error_prefix(&server.line(call), "CROSSSLOT ");
    }
    // One of which a key is missing is told so.
    assert_error_prefix(&server.line("RL.BATCH ALL 2 a 1/s 1"), "ERR ");
    assert_eq!(server.line("DBSIZE").int(), 0);
}

#[test]
fn keys_of_others_are_refused() {
    let server = Server::with(IN_CLUSTER);
    server.serve_all_slots();
    // Redis 6.2 knows one right for all of a key.
    server.ok("ACL SETUSER tester on >pass ~{a}* +@all");
    let mut wire: Wire = server.wire();
    assert_eq!(wire.line("AUTH tester pass").text(), "OK");
    for call in [
        "RL.BATCH ALL 2 {a}1 1/s 1 x{a}2 1/s 1",
        "RL.RESERVE 2 {a}1 1/s x{a}2 1/s TTL 1m",
        "RL.RESERVE 3 {a}1 1/s {a}2 1/s x{a}3 1/s TTL 1m",
        "RL.COMMIT id 2 {a}1 x{a}2 COST 1",
        "CB.ACQUIRE {a}1 3:open=1s LIMIT x{a}2 1/s",
    ] {
        assert_error_prefix(&wire.line(call), "NOPERM ");
    }
    assert_eq!(wire.line("RL.RESERVE 2 {a}1 1/s {a}2 1/s TTL 1m ID id").items().len(), 2);
    assert_eq!(wire.line("RL.COMMIT id 2 {a}1 {a}2 COST 1").int(), 1);
    assert_eq!(server.line("DBSIZE").int(), 2);
}
