//! D4: a key that is as good as fresh is gone by itself, and no earlier.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{Reply, Server, assert_same_data, call, eventually, wait_synced};

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// When a key expires, in milliseconds since 1970; -1 never, -2 no key.
fn expires(server: &Server, key: &str) -> i64 {
    let left = call!(server, "PTTL", key).int();
    if left < 0 { left } else { left + now_ms() }
}

#[track_caller]
fn assert_near(seen: i64, expected: i64) {
    assert!((seen - expected).abs() <= 100, "{seen} is not {expected}");
}

#[test]
fn a_key_expires_when_every_limit_is_full_again() {
    let server = Server::start();
    for (n, (limits, cost)) in [
        ("10/h", 3),
        ("1000/h", 3),
        ("bucket:10/h", 3),
        ("bucket:1000000/s:burst=1000000000000", 1_000_000_000_000),
        ("fixed:10/d", 3),
        ("fixed:10/h:start=first", 3),
        ("10/m,10/h,bucket:10/m", 3),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k:{n}");
        let reply = call!(server, "RL.ACQUIRE", &key, limits, "COST", cost);
        assert_eq!(reply[0], Reply::Int(cost));
        let quota = call!(server, "RL.QUOTA", &key);
        let latest = quota.items().iter().map(|row| row.field("reset_after_ms").int()).max().unwrap();
        assert_near(expires(&server, &key), now_ms() + latest);
    }
}

#[test]
fn a_full_key_is_gone_and_equals_a_fresh_one() {
    let server = Server::start();
    let replica = server.replica();
    for (key, limits) in
        [("s", "4/300ms"), ("c", "400/300ms"), ("b", "bucket:4/300ms"), ("f", "fixed:4/300ms:start=first")]
    {
        let fresh = call!(server, "RL.ACQUIRE", key, limits, "COST", 3);
        // Looked for without touching the key, so that it goes by itself.
        eventually(Duration::from_secs(30), "the key expires", || {
            server.line("DBSIZE") == Reply::Int(0) && replica.line("DBSIZE") == Reply::Int(0)
        });
        let again = call!(server, "RL.ACQUIRE", key, limits, "COST", 3);
        assert_eq!(again.items()[..4], fresh.items()[..4]);
        call!(server, "DEL", key);
    }
    call!(server, "CL.THROTTLE", "t", 4, 100, 10);
    eventually(Duration::from_secs(30), "the key expires", || server.line("DBSIZE") == Reply::Int(0));
}

#[test]
fn a_pin_or_block_keeps_the_key_until_it_ends() {
    let server = Server::start();
    server.line("RL.ACQUIRE a 10/s");
    server.ok("RL.BLOCK a FOR 1h");
    assert_near(expires(&server, "a"), now_ms() + 3_600_000);
    server.ok("RL.PIN a 5/s FOR 2h");
    assert_near(expires(&server, "a"), now_ms() + 7_200_000);
    server.ok("RL.PIN a 5/s");
    assert_eq!(expires(&server, "a"), -1);
    assert_eq!(server.line("RL.UNPIN a"), Reply::Int(1));
    assert_near(expires(&server, "a"), now_ms() + 3_600_000);
    assert_eq!(server.line("RL.UNBLOCK a"), Reply::Int(1));
    // A second after the grant, read with a millisecond of doubt.
    assert!(expires(&server, "a") <= now_ms() + 1_010);

    // With nothing else, it goes with its pin or block, or with its usage.
    server.ok("RL.PIN b 5/s");
    server.ok("RL.BLOCK c FOREVER");
    server.line("RL.ACQUIRE d 10/h");
    assert_eq!((expires(&server, "b"), expires(&server, "c")), (-1, -1));
    server.line("RL.UNPIN b");
    server.line("RL.UNBLOCK c");
    server.line("RL.RESET d");
    server.line("RL.ACQUIRE e 10/h COST 2");
    assert_eq!(server.line("RL.REFUND e 2"), Reply::Int(2));
    assert_eq!(server.line("EXISTS b c d e"), Reply::Int(0));
}

#[test]
fn under_the_debug_clock_no_key_expires() {
    let server = Server::start();
    let replica = server.replica();
    server.line("RL.ACQUIRE a 10/h");
    assert!(expires(&server, "a") > 0);
    server.clock_set(1_000_000_000_000);
    // The clock stepped back: what was granted counts from now, and stays.
    server.line("RL.ACQUIRE a 10/h");
    server.line("RL.ACQUIRE b bucket:10/s");
    server.ok("RL.BLOCK c FOR 1s");
    server.line("CL.THROTTLE d 4 1 60");
    for key in ["a", "b", "c", "d"] {
        assert_eq!(expires(&server, key), -1, "{key}");
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn keys_of_the_debug_clock_expire_again_with_their_next_grant() {
    let server = Server::start();
    let replica = server.replica();
    server.clock_set(now_ms() * 1000);
    for limits in ["fixed:10/h:start=first", "10/h", "10/h,fixed:10/h:start=first"] {
        call!(server, "RL.ACQUIRE", limits, limits);
        assert_eq!(expires(&server, limits), -1, "{limits}");
    }
    server.clock_real();
    for limits in ["fixed:10/h:start=first", "10/h", "10/h,fixed:10/h:start=first"] {
        // In the window, or the slot, of the grant before: its end has not moved.
        let reply = call!(server, "RL.ACQUIRE", limits, limits);
        assert_near(expires(&server, limits), now_ms() + reply[4].int());
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn an_expiry_that_a_user_sets_holds_until_a_grant_moves_the_end() {
    let server = Server::start();
    let replica = server.replica();
    for (limits, moves) in [
        ("fixed:10/h:start=first", false),
        ("bucket:10/h", true),
        ("fixed:10/h:start=first,bucket:1/h:burst=5", true),
    ] {
        let first = call!(server, "RL.ACQUIRE", limits, limits);
        let end = now_ms() + first[4].int();
        call!(server, "PERSIST", limits);
        call!(server, "RL.ACQUIRE", limits, limits);
        assert_eq!(expires(&server, limits) != -1, moves, "{limits}");
        call!(server, "EXPIRE", limits, 60);
        call!(server, "RL.ACQUIRE", limits, limits);
        let seen = expires(&server, limits);
        assert_eq!((seen - now_ms() - 60_000).abs() > 100, moves, "{limits}");
        assert!(!moves || seen > end, "{limits}");
    }
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}
