//! What a request behind a line is told: the time at which it is granted if nobody else asks.

use crate::harness::{Reply, call};
use crate::queue::kit::{NOON, answered, server, waits};
use crate::support::denied;

/// `[limited, limit, remaining, retry, reset]` of each command of redis-cell's arithmetic.
fn throttled(server: &crate::harness::Server, key: &str, quantity: u64) -> Vec<Reply> {
    vec![
        server.line(&format!("CL.THROTTLE {key} 4 1 60 {quantity}")),
        server.line(&format!("RL.THROTTLE {key} 4 1 60 {quantity}")),
        server.line(&format!("GCRA {key} 4 1 60 TOKENS {quantity}")),
    ]
}

#[test]
fn a_throttled_request_waits_for_the_line_and_then_for_its_own_units() {
    let server = server();
    server.line("RL.ACQUIRE k 1/m");
    let _waiter = waits(&server, "RL.ACQUIRE k 1/m WAIT 30s");
    assert_eq!(throttled(&server, "k", 1), vec![Reply::ints(&[1, 5, 0, 60, 0]); 3]);
    assert_eq!(throttled(&server, "k", 9), vec![Reply::ints(&[1, 5, 0, -1, 0]); 3], "above the capacity");
    // Its own units come back later than the line is served.
    server.line("CL.THROTTLE m 4 1 60 5");
    server.line("RL.ACQUIRE m 1/m");
    let mut waiter = waits(&server, "RL.ACQUIRE m 1/m WAIT 30s");
    assert_eq!(throttled(&server, "m", 3), vec![Reply::ints(&[1, 5, 0, 180, 300]); 3]);
    server.clock_advance(60_000_000);
    assert_eq!(answered(&mut waiter).granted, 1);
    assert_eq!(call!(server, "CL.THROTTLE", "m", 4, 1, 60, 3), Reply::ints(&[1, 5, 1, 120, 240]));
    server.clock_set(NOON + 180_000_000);
    assert_eq!(call!(server, "CL.THROTTLE", "m", 4, 1, 60, 3), Reply::ints(&[0, 5, 0, -1, 300]));
}

#[test]
fn a_throttled_request_behind_a_line_goes_by_the_pin_and_by_what_follows_it() {
    let server = server();
    server.ok("RL.PIN p 1/m");
    server.line("CL.THROTTLE p 4 1 60");
    let _waiter = waits(&server, "RL.ACQUIRE p 5/m WAIT 30s");
    assert_eq!(server.line("RL.ACQUIRE p 5/m").rate_limit(), denied().retry_ms(120_000).behind_a_line());
    assert_eq!(throttled(&server, "p", 1), vec![Reply::ints(&[1, 1, 0, 120, 60]); 3]);
    assert_eq!(throttled(&server, "p", 5), vec![Reply::ints(&[1, 1, 0, -1, 60]); 3]);
    // The pin ends after the line is served. From then on the limit of the arguments holds.
    server.line("CL.THROTTLE q 4 1 60 5");
    server.ok("RL.PIN q 1/m FOR 90s");
    server.line("RL.ACQUIRE q");
    let _waiter = waits(&server, "RL.ACQUIRE q WAIT 30s");
    assert_eq!(throttled(&server, "q", 1), vec![Reply::ints(&[1, 1, 0, 90, 60]); 3]);
    assert_eq!(throttled(&server, "q", 2), vec![Reply::ints(&[1, 1, 0, 120, 60]); 3]);
    // A block holds up the line and what is behind it.
    server.ok("RL.BLOCK q FOR 200s");
    assert_eq!(throttled(&server, "q", 1)[0][3], Reply::Int(200));
}

#[test]
fn headers_behind_a_line_go_by_the_limits_that_they_show() {
    let server = server();
    server.line("RL.RESERVE 1 k concurrent:1,10/m TTL 90s ID a");
    server.line("RL.ACQUIRE k 1/m");
    let _waiter = waits(&server, "RL.ACQUIRE k 1/m WAIT 30s");
    let retry =
        |limits: &str| server.line(&format!("RL.QUOTA k {limits} HEADERS")).field("Retry-After").text();
    assert_eq!(retry("1/m"), "120");
    assert_eq!(retry("concurrent:1"), "90", "a place is free after the line is served");
    assert_eq!(retry("concurrent:2"), "60");
    let never = server.line("RL.QUOTA k 10/m COST 11 HEADERS");
    assert!(never.get("Retry-After").is_none());
}
