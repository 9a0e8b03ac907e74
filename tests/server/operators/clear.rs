//! RL.CLEAR: walks like SCAN, deletes limiters, leaves operators' words alone.

use std::collections::BTreeSet;

use crate::harness::{Reply, Server, assert_error, assert_error_prefix, call};

fn clear_all(server: &Server, tail: &str) -> i64 {
    let (mut cursor, mut deleted, mut rounds) = ("0".to_owned(), 0, 0);
    loop {
        let reply = server.line(&format!("RL.CLEAR {cursor} {tail}"));
        deleted += reply[1].int();
        cursor = reply[0].text();
        rounds += 1;
        assert!(rounds < 10_000, "the cursor never comes back to 0");
        if cursor == "0" {
            return deleted;
        }
    }
}

fn keys(server: &Server) -> BTreeSet<String> {
    server.line("KEYS *").items().iter().map(Reply::text).collect()
}

#[test]
fn deletes_what_matches() {
    let server = Server::start();
    server.line("SET api:string x");
    server.line("HSET api:hash f v");
    for i in 0..500 {
        call!(server, "RL.ACQUIRE", format!("api:{i}"), "10/h");
        call!(server, "RL.ACQUIRE", format!("web:{i}"), "10/h");
    }
    server.ok("RL.PIN api:7 5/h");
    server.ok("RL.BLOCK api:8 FOR 1h");
    server.ok("RL.PIN api:pin 5/h");
    assert_eq!(clear_all(&server, "MATCH api:* COUNT 100"), 498);
    let left = keys(&server);
    let api: Vec<_> = left.iter().filter(|key| key.starts_with("api:")).cloned().collect();
    assert_eq!(api, ["api:7", "api:8", "api:hash", "api:pin", "api:string"]);
    assert_eq!(left.len(), 505);
    assert_eq!(clear_all(&server, "MATCH nothing*"), 0);
    assert_eq!(clear_all(&server, ""), 500);
    // What is neither pinned nor blocked any more goes.
    server.line("RL.UNPIN api:7");
    server.line("RL.UNBLOCK api:8");
    assert_eq!(clear_all(&server, "COUNT 1000000"), 2);
    assert_eq!(keys(&server), BTreeSet::from(["api:hash", "api:pin", "api:string"].map(String::from)));
}

#[test]
fn ended_pins_and_blocks_do_not_protect() {
    let server = Server::at_t0();
    server.ok("RL.PIN p 10/s FOR 1s");
    server.ok("RL.BLOCK b FOR 1s");
    assert_eq!(clear_all(&server, ""), 0);
    server.clock_advance(1_000_000);
    assert_eq!(clear_all(&server, ""), 2);
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}

#[test]
fn works_on_the_selected_database_and_in_transactions() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE zero 10/h");
    wire.line("SELECT 3");
    call!(wire, "RL.ACQUIRE", b"three\0\xff", "10/h");
    wire.line("MULTI");
    wire.line("RL.CLEAR 0 COUNT 1000");
    let reply = wire.line("EXEC");
    assert_eq!(reply[0], Reply::Array(vec![Reply::bulk("0"), Reply::Int(1)]));
    assert_eq!(wire.line("DBSIZE"), Reply::Int(0));
    assert_eq!(server.line("DBSIZE"), Reply::Int(1));
    let lua = "return redis.call('RL.CLEAR', '0', 'COUNT', '1000')";
    assert_eq!(server.call(&["EVAL", lua, "0"])[1], Reply::Int(1));
    assert_eq!(server.line("DBSIZE"), Reply::Int(0));
}

#[test]
fn a_replica_clears_along() {
    let server = Server::start();
    let replica = server.replica();
    for i in 0..50 {
        call!(server, "RL.ACQUIRE", format!("k{i}"), "10/h");
    }
    server.ok("RL.BLOCK k7 FOREVER");
    assert_eq!(clear_all(&server, ""), 49);
    crate::harness::wait_synced(&server, &replica);
    crate::harness::assert_same_data(&server, &replica);
    assert_eq!(replica.line("DBSIZE"), Reply::Int(1));
}

#[test]
fn refuses_as_scan_does() {
    let server = Server::start();
    for cursor in ["x", "-1", "1.5", "99999999999999999999999"] {
        assert_error_prefix(&server.line(&format!("RL.CLEAR {cursor}")), "ERR invalid cursor");
    }
    assert_error(&server.line("RL.CLEAR 0 COUNT 0"), "ERR COUNT must be a whole number from 1 to 1000000");
    assert_error(&server.line("RL.CLEAR 0 COUNT x"), "ERR COUNT must be a whole number from 1 to 1000000");
    assert_error_prefix(&server.line("RL.CLEAR 0 MATCH"), "ERR syntax error: MATCH needs a value");
    assert_error_prefix(&server.line("RL.CLEAR 0 TYPE x"), "ERR syntax error near 'TYPE'");
    // Any 64-bit number is a cursor.
    assert_eq!(server.line("RL.CLEAR 18446744073709551615")[1], Reply::Int(0));
}
