//! What operators do: BLOCK, UNBLOCK, PIN, UNPIN, RESET.

use crate::support::{denied, granted};
use std::time::Duration;

use crate::harness::{Reply, Server, assert_error_prefix};
use crate::limits::fixtures::{acquire, assert_acquire};

#[test]
fn a_block_denies_until_it_ends() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 30s");
    assert_acquire(&server, "k 10/s", denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(0).blocked());
    assert_acquire(
        &server,
        "k 10/s PARTIAL CRITICAL COST 3",
        denied().limit(10).remaining(0).retry_ms(30_000).reset_ms(0).blocked(),
    );
    // Never stays never; without any limits the block alone answers.
    assert_acquire(
        &server,
        "k 10/s COST 11",
        denied().limit(10).remaining(0).retry_never().reset_ms(0).blocked(),
    );
    assert_acquire(&server, "k", denied().limit(-1).remaining(0).retry_ms(30_000).reset_ms(0).blocked());
    assert_acquire(
        &server,
        "k unlimited",
        denied().limit(-1).remaining(0).retry_ms(30_000).reset_ms(0).blocked(),
    );
    server.clock_advance(29_999_999);
    assert_acquire(&server, "k 10/s", denied().limit(10).remaining(0).retry_ms(1).reset_ms(0).blocked());
    server.clock_advance(1);
    assert_acquire(&server, "k 10/s", granted(1).limit(10).remaining(9).reset_ms(1000));
}

#[test]
fn the_later_of_block_and_limits() {
    let server = Server::at_t0();
    assert_acquire(&server, "k 5/h COST 5", granted(5).limit(5).remaining(0).reset_ms(3_600_000));
    server.ok("RL.BLOCK k FOR 1000ms");
    assert_acquire(
        &server,
        "k 5/h",
        denied().limit(5).remaining(0).retry_ms(3_600_000).reset_ms(3_600_000).blocked(),
    );
    server.ok("RL.BLOCK k FOR 2h");
    assert_acquire(
        &server,
        "k 5/h",
        denied().limit(5).remaining(0).retry_ms(7_200_000).reset_ms(3_600_000).blocked(),
    );
    server.ok("RL.BLOCK k FOREVER REASON abuse");
    assert_acquire(
        &server,
        "k 5/h",
        denied().limit(5).remaining(0).retry_never().reset_ms(3_600_000).blocked(),
    );
    server.clock_advance(366 * 86_400_000_000);
    assert_acquire(&server, "k 5/h", denied().limit(5).remaining(0).retry_never().reset_ms(0).blocked());
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(1));
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(0));
    assert_acquire(&server, "k 5/h", granted(1).limit(5).remaining(4).reset_ms(3_600_000));
}

#[test]
fn a_block_that_has_ended_is_no_block() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 1s");
    server.clock_advance(1_000_000);
    assert_eq!(server.line("RL.UNBLOCK k"), Reply::Int(0));
    assert_eq!(server.line("RL.QUOTA k"), Reply::NilBulk);
    server.ok("RL.PIN p 10/s FOR 1s");
    server.clock_advance(1_000_000);
    assert_eq!(server.line("RL.UNPIN p"), Reply::Int(0));
    assert_eq!(server.line("RL.QUOTA p"), Reply::NilBulk);
}

#[test]
fn a_pin_fixes_the_limits() {
    let server = Server::at_t0();
    assert_acquire(&server, "k 10/m COST 4", granted(4).limit(10).remaining(6).reset_ms(60_000));
    // Usage is found again under the pinned limits, and after them.
    server.ok("RL.PIN k 5/m");
    assert_acquire(&server, "k 10/m", granted(1).limit(5).remaining(0).reset_ms(60_000));
    assert_acquire(
        &server,
        "k 10/m CRITICAL",
        denied().limit(5).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    assert_eq!(server.line("RL.UNPIN k"), Reply::Int(1));
    assert_eq!(server.line("RL.UNPIN k"), Reply::Int(0));
    assert_eq!(server.line("RL.UNPIN missing"), Reply::Int(0));
    assert_acquire(&server, "k 10/m", granted(1).limit(10).remaining(4).reset_ms(60_000));
    server.ok("RL.PIN k unlimited");
    assert_acquire(&server, "k 10/m COST 500", granted(500).unlimited());
    server.ok("RL.PIN k 1/h:shadow");
    assert_acquire(&server, "k 10/m COST 500", granted(500).unlimited());
    // The last pin holds, with its own end.
    server.ok("RL.PIN k 2/h FOR 1000ms");
    server.ok("RL.PIN k 3/h FOR 2s");
    server.clock_advance(1_999_999);
    assert_eq!(acquire(&server, "k 10/m").limit, 3);
    server.clock_advance(1);
    assert_eq!(acquire(&server, "k 10/m").limit, 10);
}

#[test]
fn reset_forgets_usage_and_nothing_else() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE a 10/m COST 4");
    server.line("RL.ACQUIRE b 10/m,20/h COST 4");
    server.line("RL.ACQUIRE b 10/s");
    server.ok("RL.PIN pinned 3/h");
    server.line("RL.ACQUIRE pinned * COST 3");
    server.line("RL.ACQUIRE blocked 5/h COST 5");
    server.ok("RL.BLOCK blocked FOR 1h REASON x");
    server.ok("RL.PIN idle 3/h");
    assert_eq!(server.line("RL.RESET a b pinned blocked idle missing a"), Reply::Int(4));
    assert_eq!(server.line("EXISTS a b pinned blocked idle missing"), Reply::Int(3));
    assert_acquire(&server, "b 20/h", granted(1).limit(20).remaining(19).reset_ms(3_600_000));
    assert_acquire(&server, "pinned *", granted(1).limit(3).remaining(2).reset_ms(3_600_000));
    assert_acquire(
        &server,
        "blocked 5/h",
        denied().limit(5).remaining(0).retry_ms(3_600_000).reset_ms(0).blocked(),
    );
    assert_eq!(server.line("RL.RESET idle missing"), Reply::Int(0));
    // What has run out is no usage any more.
    server.clock_advance(7_200_000_000);
    assert_eq!(server.line("RL.RESET b"), Reply::Int(0));
    // A key of another type: nothing is reset.
    server.line("RL.ACQUIRE a 10/m");
    server.line("SET s x");
    assert_error_prefix(&server.line("RL.RESET a s"), "WRONGTYPE ");
    assert_acquire(&server, "a 10/m", granted(1).limit(10).remaining(8).reset_ms(60_000));
}

#[test]
fn a_key_lives_until_its_block_or_pin_ends() {
    let server = Server::start();
    let left = |key: &str| server.line(&format!("PTTL {key}")).int();
    server.ok("RL.BLOCK b FOR 100s");
    assert!((99_000..=100_001).contains(&left("b")));
    server.ok("RL.PIN p 10/s FOR 2h");
    assert!((7_199_000..=7_200_001).contains(&left("p")));
    // Usage ends before the pin: the pin decides; and after it.
    server.line("RL.ACQUIRE p *");
    assert!((7_199_000..=7_200_001).contains(&left("p")));
    server.line("RL.ACQUIRE b 10/d");
    assert!((99_000..=100_001).contains(&left("b")));
    server.line("RL.UNBLOCK b");
    server.line("RL.ACQUIRE b 10/d");
    server.ok("RL.BLOCK b FOR 100s");
    assert!((86_300_000..=86_400_001).contains(&left("b")));
    for command in ["RL.BLOCK b FOREVER", "RL.PIN p 10/s"] {
        server.ok(command);
    }
    assert_eq!((left("b"), left("p")), (-1, -1));
    assert_eq!(server.line("RL.UNPIN p"), Reply::Int(1));
    assert_eq!(server.line("RL.UNBLOCK b"), Reply::Int(1));
    assert!((86_300_000..=86_400_001).contains(&left("b")));
    // And then it is gone by itself.
    server.ok("RL.BLOCK short FOR 20ms");
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(server.line("EXISTS short"), Reply::Int(0));
}

#[test]
fn operators_need_good_arguments() {
    let server = Server::start();
    let bad = |command: &str, error: &str| {
        let reply = server.line(command);
        // Before 7.0 the name comes back as typed.
        let told = reply.error().unwrap_or_default().replace("'RL.", "'rl.");
        assert!(told.to_lowercase().starts_with(&error.to_lowercase()), "{command}: {reply:?}");
    };
    bad("RL.BLOCK k", "ERR wrong number of arguments for 'rl.block' command");
    bad("RL.BLOCK k FOR", "ERR syntax error: FOR needs a value");
    bad("RL.BLOCK k 30s", "ERR syntax error near '30s'");
    bad("RL.BLOCK k FOR 30s REASON", "ERR syntax error: REASON needs a value");
    bad("RL.BLOCK k FOR 30s WHY x", "ERR syntax error near 'WHY'");
    bad("RL.BLOCK k FOR 0", "ERR invalid duration '0': must be at least 1ms");
    bad("RL.BLOCK k FOR 1y", "ERR invalid duration '1y': unknown unit");
    bad("RL.BLOCK k FOR 367d", "ERR invalid duration '367d': longer than 366 days");
    bad("RL.BLOCK k FOR -5", "ERR invalid duration '-5': takes no sign");
    bad("RL.PIN k", "ERR wrong number of arguments for 'rl.pin' command");
    bad("RL.PIN k 10/", "ERR invalid limit '10/': missing period");
    bad("RL.PIN k 10/s FOR", "ERR syntax error: FOR needs a value");
    bad("RL.PIN k 10/s 30s", "ERR syntax error near '30s'");
    bad("RL.PIN k *", "ERR invalid limit '*': a pin names its limits; RL.UNPIN returns to the server's");
    bad("RL.UNPIN k x", "ERR wrong number of arguments for 'rl.unpin' command");
    bad("RL.UNBLOCK k x", "ERR wrong number of arguments for 'rl.unblock' command");
    let long = "x".repeat(1025);
    bad(&format!("RL.BLOCK k FOREVER REASON {long}"), "ERR REASON must be at most 1024 bytes");
    server.ok(&format!("RL.BLOCK k FOREVER REASON {}", &long[1..]));
    assert_eq!(server.line("DBSIZE"), Reply::Int(1));
}

/// What OPERATIONS.md says to who asks for the operator that blocked a key.
#[test]
fn who_blocked_a_key_is_in_the_slow_log_and_not_in_monitor() {
    let server = Server::start();
    let mut monitor = server.wire();
    assert_eq!(monitor.line("MONITOR"), Reply::ok());
    server.config_set("slowlog-log-slower-than", "0");
    let mut operator = server.wire();
    let address = operator.line("CLIENT LIST").text();
    operator.line("CLIENT SETNAME operator");
    operator.line("RL.BLOCK k FOREVER");
    operator.line("RL.CLEAR 0");
    operator.line("PING end");
    let mut seen = String::new();
    while !seen.contains("\"end\"") {
        seen += &monitor.read().text();
    }
    assert!(!seen.to_lowercase().contains("rl.block") && !seen.to_lowercase().contains("rl.clear"), "{seen}");
    assert!(seen.contains("\"SCAN\""), "{seen}");
    let slow = server.line("SLOWLOG GET 128");
    let of = |command: &str| {
        let entry = slow.items().iter().find(|entry| entry[3][0] == Reply::bulk(command)).cloned();
        entry.map(|entry| (entry[4].text(), entry[5].text()))
    };
    let (from, name) = of("RL.BLOCK").expect("the block is in the slow log");
    assert!(name == "operator" && address.contains(&format!("addr={from} ")), "{from} {name}");
}
