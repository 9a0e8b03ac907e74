//! Ends that the server knows, pins and blocks with FOR, in every answer that tells a time:
//! at `retry_after_ms` the same request is granted if nobody else asks, and not 2 ms earlier.

use crate::harness::{Reply, Server, T0};
use crate::limits::fixtures::{acquire, assert_acquire};
use crate::queue::fixtures::{answered, queue, waits};
use crate::support::{Dice, denied, granted};
use std::time::{Duration, Instant};

#[test]
fn a_pin_that_ends_lets_the_call_through() {
    let server = Server::at_t0();
    server.ok("RL.PIN p 1/h FOR 10s");
    assert_eq!(acquire(&server, "p 100/s").granted, 1);
    assert_acquire(&server, "p 100/s", denied().limit(1).remaining(0).retry_ms(10_000));
    // Above the capacity of what holds now, and granted all the same once it has ended.
    assert_eq!(acquire(&server, "p 100/s COST 5").retry_after_ms, 10_000);
    assert_eq!(acquire(&server, "p 100/s COST 101").retry_after_ms, -1);
    server.clock_advance(9_998_000);
    assert_acquire(&server, "p 100/s COST 5", denied().limit(1).remaining(0).retry_ms(2));
    server.clock_advance(2_000);
    assert_acquire(&server, "p 100/s COST 5", granted(5).limit(100).remaining(95));
}

#[test]
fn what_the_call_s_own_limits_still_know_counts_after_the_pin() {
    let server = Server::at_t0();
    // The first usage of 2/m is its own; the pin's of 1/h is another's.
    assert_eq!(acquire(&server, "k 2/m COST 2").granted, 2);
    server.ok("RL.PIN k 1/h FOR 10s");
    assert_eq!(acquire(&server, "k 2/m").granted, 1);
    assert_eq!(acquire(&server, "k 2/m").retry_after_ms, 60_000);
    server.clock_advance(60_000_000);
    assert_eq!(acquire(&server, "k 2/m").granted, 1);
    // A pin of the same identity shares the usage.
    server.ok("RL.PIN s 3/m FOR 10s");
    assert_eq!(acquire(&server, "s 4/m COST 3").granted, 3);
    assert_eq!(acquire(&server, "s 4/m").retry_after_ms, 10_000);
    assert_eq!(acquire(&server, "s 4/m COST 2").retry_after_ms, 60_000);
}

#[test]
fn pins_without_an_end_and_blocks() {
    let server = Server::at_t0();
    server.ok("RL.PIN f 1/h");
    acquire(&server, "f 100/s");
    assert_eq!(acquire(&server, "f 100/s").retry_after_ms, 3_600_000);
    assert_eq!(acquire(&server, "f 100/s COST 2").retry_after_ms, -1);
    // A block that ends after the pin, and one that ends before.
    server.ok("RL.PIN b 1/h FOR 10s");
    acquire(&server, "b 100/s");
    server.ok("RL.BLOCK b FOR 20s");
    let denied = acquire(&server, "b 100/s");
    assert_eq!([denied.retry_after_ms, denied.index], [20_000, -1]);
    server.ok("RL.BLOCK b FOR 5s");
    assert_eq!(acquire(&server, "b 100/s").retry_after_ms, 10_000);
    server.ok("RL.BLOCK b FOREVER");
    assert_eq!(acquire(&server, "b 100/s").retry_after_ms, -1);
    // A pin to a policy that is gone is passed over.
    server.ok("RL.POLICY SET gone 1/h");
    server.ok("RL.PIN g @gone FOR 10s");
    server.line("RL.POLICY DEL gone");
    assert_acquire(&server, "g 100/s", granted(1).limit(100));
    assert_eq!(acquire(&server, "g 2/h COST 3").retry_after_ms, -1);
    // After the pin nothing says what the limits are.
    server.ok("RL.PIN n 1/h FOR 10s");
    acquire(&server, "n");
    assert_eq!(acquire(&server, "n").retry_after_ms, -1);
}

/// Every command that takes says the same.
/// Replies tell milliseconds. A pin that would let the call through for less than the rest of one,
/// because its block ends first, lets it through at no moment that a reply can name.
#[test]
fn a_pin_that_outlives_its_block_by_microseconds() {
    let server = Server::at_t0();
    server.ok("RL.BLOCK k FOR 5s");
    server.clock_advance(5);
    server.ok("RL.PIN k unlimited FOR 5s");
    assert_eq!(acquire(&server, "k 1/h COST 2").retry_after_ms, -1);
    assert_eq!(acquire(&server, "k 3/h COST 2").retry_after_ms, 5000);
    server.clock_advance(5_000_000);
    assert_acquire(&server, "k 3/h COST 2", granted(2).limit(3).remaining(1));
}

#[test]
fn every_command_knows_them() {
    let server = Server::at_t0();
    server.ok("RL.PIN {k}p 1/h FOR 10s");
    server.line("RL.ACQUIRE {k}p 100/s");
    for (command, at) in [
        ("RL.ACQUIRE {k}p 100/s PARTIAL COST 3", vec![3]),
        ("RL.BATCH EACH 1 {k}p 100/s 1", vec![0, 3]),
        ("RL.BATCH ALL 2 {k}p 100/s 1 {k}q 5/s 1", vec![0, 3]),
        ("RL.BATCH ALL 2 {k}p 100/s 1 {k}q 5/s 1", vec![1, 3]),
        ("RL.BATCH ALL 3 {k}p 100/s 1 {k}p 100/s 1 {k}p 100/s 98", vec![2, 3]),
        ("RL.RESERVE 1 {k}p 100/s TTL 1m", vec![1, 0, 3]),
        ("RL.RESERVE 2 {k}p 100/s {k}q 5/s TTL 1m", vec![1, 1, 3]),
        ("RL.RESERVE 1 {k}p concurrent:5 TTL 1m", vec![1, 0, 3]),
        ("CB.ACQUIRE {k}b 3 LIMIT {k}p 100/s", vec![4, 3]),
    ] {
        let mut reply = server.line(command);
        for index in at {
            reply = reply[index].clone();
        }
        assert_eq!(reply, Reply::Int(10_000), "{command}");
    }
    let beyond = server.line("RL.BATCH ALL 2 {k}p 100/s 50 {k}p 100/s 51");
    assert_eq!([beyond[0][3].int(), beyond[1][3].int()], [10_000, -1]);
    assert_eq!(server.line("CL.THROTTLE {k}p 9 10 1")[3], Reply::Int(10));
    let quota = server.line("RL.QUOTA {k}p 100/s");
    assert_eq!(quota[0].field("retry_after_ms"), Reply::Int(10_000));
    assert_eq!(quota[0].field("source"), Reply::bulk("pin"));
    let headers = server.line("RL.QUOTA {k}p 100/s HEADERS");
    assert_eq!(headers.field("Retry-After").text(), "10");
    server.clock_advance(10_000_000);
    assert_eq!(server.line("RL.BATCH ALL 2 {k}p 100/s 1 {k}q 5/s 1")[0][0], Reply::Int(1));
}

/// In real time and under the debug clock: a line moves when the pin ends.
#[test]
fn a_line_moves_when_the_pin_ends() {
    let server = Server::start();
    server.ok("RL.PIN w 1/h FOR 2s");
    let began = Instant::now();
    assert_eq!(acquire(&server, "w 100/s").granted, 1);
    let mut first = waits(&server, "RL.ACQUIRE w 100/s WAIT 30s");
    let mut second = waits(&server, "RL.RESERVE 1 w 100/s COST 60 TTL 1m WAIT 30s");
    let behind = acquire(&server, "w 100/s");
    assert_eq!(behind.index, -2);
    assert!((1..=2_000).contains(&behind.retry_after_ms), "{behind:?}");
    assert_eq!(answered(&mut first).granted, 1);
    assert_eq!(second.read()[1][0][0], Reply::Int(60));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_line_is_told_right_times_across_ends() {
    let server = Server::at_t0();
    server.ok("RL.PIN w 1/h FOR 10s");
    assert_eq!(acquire(&server, "w 100/s").granted, 1);
    // Two fit when the pin has ended; the third when their second is over.
    let mut wires = Vec::new();
    for told in [10_000, 11_020, 11_020] {
        wires.push(waits(&server, "RL.ACQUIRE w 100/s COST 50 WAIT 30s"));
        let behind = acquire(&server, "w 100/s COST 51");
        assert_eq!(behind.index, -2);
        // Of 100 units the seconds are counted in slots of 20 ms.
        assert!(behind.retry_after_ms >= told - 20 && behind.retry_after_ms <= told + 1_020, "{behind:?}");
    }
    server.clock_advance(10_000_000);
    assert_eq!([answered(&mut wires[0]).granted, answered(&mut wires[1]).granted], [50, 50]);
    assert_eq!(queue(&server, "w")[0], 1);
    server.clock_advance(1_020_000);
    assert_eq!(answered(&mut wires[2]).granted, 50);
}

#[test]
fn blocks_and_pins_last_no_longer_than_they_should_where_the_clock_steps_back() {
    let server = Server::at_t0();
    server.clock_advance(3_600_000_000);
    server.ok("RL.BLOCK b FOR 30s");
    server.ok("RL.PIN p 1/h FOR 30s");
    server.line("RL.ACQUIRE p 100/m");
    server.clock_set(T0);
    // A look reckons the same without recording.
    for _ in 0..2 {
        assert_eq!(server.line("RL.QUOTA b HEADERS").field("Retry-After").text(), "30");
        let until = server.line("RL.QUOTA b")[0].field("blocked").field("until").int();
        assert_eq!(until, T0 / 1000 + 30_000);
        assert_eq!(server.line("RL.QUOTA p 100/m COST 2")[0].field("retry_after_ms"), Reply::Int(30_000));
        server.clock_advance(10_000_000);
        let until = server.line("RL.QUOTA b")[0].field("blocked").field("until").int();
        assert_eq!(until, T0 / 1000 + 40_000);
        server.clock_set(T0);
    }
    // The first denial records it, the block's own too.
    assert_eq!(acquire(&server, "b 5/s").retry_after_ms, 30_000);
    assert_eq!(acquire(&server, "p 100/m COST 2").retry_after_ms, 30_000);
    server.clock_advance(29_998_000);
    assert_eq!(acquire(&server, "b 5/s").retry_after_ms, 2);
    assert_eq!(acquire(&server, "p 100/m COST 2").retry_after_ms, 2);
    server.clock_advance(2_000);
    assert_eq!(acquire(&server, "b 5/s").granted, 1);
    assert_eq!(acquire(&server, "p 100/m COST 2").granted, 2);
}

const ANY_LIMITS: [&str; 12] = [
    "3/s",
    "5/10s:name=a",
    "9/2s:name=a",
    "bucket:4/5s",
    "bucket:9/5s",
    "fixed:3/4s",
    "fixed:5/7s:name=b",
    "fixed:4/3s:name=b",
    "2/s,fixed:6/4s",
    "unlimited",
    "bucket:6/7s:name=c",
    "bucket:3/2s:burst=9:name=c",
];

/// A grant, a reservation, a pin or a block.
fn change_at_random(server: &Server, dice: &mut Dice, key: &str) {
    let limits = dice.one_of(&ANY_LIMITS);
    let command = match dice.below(7) {
        0 => format!("RL.PIN {key} {limits} FOR {}ms", 1 + dice.below(8_000)),
        1 => format!("RL.BLOCK {key} FOR {}ms", 1 + dice.below(8_000)),
        2 => format!("RL.RESERVE 1 {key} {limits} TTL 3s COST {}", 1 + dice.below(3)),
        _ => format!("RL.ACQUIRE {key} {limits} COST {}", 1 + dice.below(3)),
    };
    let reply = server.line(&command);
    assert_eq!(reply.error(), None, "{command}");
}

/// The seconds of the header Retry-After, if RL.QUOTA has one.
fn retry_after_s(server: &Server, request: &str) -> Option<i64> {
    server.line(&format!("RL.QUOTA {request} HEADERS")).get("Retry-After").map(|s| s.text().parse().unwrap())
}

/// The longest wait in milliseconds that RL.QUOTA tells of a limit; `None` if the key is blocked.
fn longest_wait_ms(server: &Server, request: &str) -> Option<i64> {
    let rows = server.line(&format!("RL.QUOTA {request}"));
    let waits: Option<Vec<_>> =
        rows.items().iter().map(|row| row.get("retry_after_ms").map(|ms| ms.int())).collect();
    let waits = waits?;
    Some(if waits.contains(&-1) { -1 } else { waits.into_iter().max().unwrap_or(0) })
}

/// Whatever was granted, pinned and blocked: at the time that is told the request is
/// granted, and not 2 ms earlier; RL.QUOTA tells the same and changes nothing.
#[test]
fn the_time_that_is_told_is_the_time() {
    let mut dice = Dice::new(7);
    let server = Server::at_t0();
    server.ok("RL.POLICY SET pol 2/3s PREFIX pol:");
    let mut now = T0;
    let (mut granted, mut denied_for_ever, mut denied_for_a_time) = (0, 0, 0);
    for round in 0..700 {
        let key = format!("{}{round}", if dice.once_in(3) { "pol:" } else { "k" });
        for _ in 0..dice.below(9) {
            change_at_random(&server, &mut dice, &key);
            now += dice.below(1_500_000) - if dice.once_in(9) { 4_000_000 } else { 0 };
            server.clock_set(now);
        }
        let (limits, cost) = (dice.one_of(&ANY_LIMITS), 1 + dice.below(9));
        let request = format!("{key} {limits} COST {cost}");
        let (header, longest) = (retry_after_s(&server, &request), longest_wait_ms(&server, &request));
        let told = acquire(&server, &request);
        if told.granted > 0 {
            assert_eq!(header, None, "{request}");
            granted += 1;
            continue;
        }
        assert!(
            longest.is_none_or(|longest| longest == told.retry_after_ms),
            "{request}: {longest:?} {told:?}"
        );
        if told.retry_after_ms < 0 {
            assert_eq!(header, None, "{request}");
            denied_for_ever += 1;
            continue;
        }
        denied_for_a_time += 1;
        assert_eq!(header, Some((told.retry_after_ms + 999) / 1000), "{request}: {told:?}");
        let earlier = told.retry_after_ms - 2;
        if earlier > 0 {
            server.clock_set(now + earlier * 1000);
            let denied = acquire(&server, &request);
            assert_eq!(denied.granted, 0, "{request}: told {told:?}, {denied:?}");
            assert!((1..=2).contains(&denied.retry_after_ms), "{request}: told {told:?}, {denied:?}");
        }
        now += told.retry_after_ms * 1000;
        server.clock_set(now);
        let granted = acquire(&server, &request);
        assert_eq!(granted.granted, cost, "{request}: told {told:?}, {granted:?}");
    }
    let all = [granted, denied_for_ever, denied_for_a_time];
    assert!(all.iter().all(|&times| times > 50), "{all:?}");
}

/// Several keys at once: the first denial after a step tells what the next ones tell.
#[test]
fn the_first_denial_on_several_keys_knows_of_a_clock_that_stepped_back() {
    for (ahead, limits) in [
        ("RL.BLOCK {k}2 FOR 1s", "10/m"),
        ("RL.RESERVE 1 {k}2 concurrent:1 TTL 1s ID held", "concurrent:1"),
        ("RL.ACQUIRE {k}2 1/s", "1/s"),
    ] {
        let server = Server::at_t0();
        server.clock_advance(20_000_000);
        server.line(ahead);
        server.clock_set(T0);
        let call = format!("RL.RESERVE 2 {{k}}1 10/m {{k}}2 {limits} TTL 1s");
        for _ in 0..2 {
            let reply = server.line(&call)[1].clone();
            let told =
                [reply[0].rate_limit(), reply[1].rate_limit()].map(|one| (one.retry_after_ms, one.index));
            assert_eq!((told[0], told[1].0), ((1000, -3), 1000), "{ahead}");
        }
        server.clock_advance(1_000_000);
        assert!(!server.line(&call)[0].is_nil(), "{ahead}");
    }
}

/// A queue on one key hides no end on another.
#[test]
fn ends_on_other_keys_count_beside_a_queue() {
    for call in ["RL.RESERVE 2 {k}q 1/2s {k}o 1/h TTL 1s", "RL.BATCH ALL 2 {k}q 1/2s 1 {k}o 1/h 1"] {
        let server = Server::at_t0();
        server.line("RL.ACQUIRE {k}q 1/2s");
        server.line("RL.ACQUIRE {k}o 1/h");
        server.ok("RL.PIN {k}o 100/s FOR 200ms");
        let _waiter = waits(&server, "RL.ACQUIRE {k}q 1/2s WAIT 30s");
        let reply = server.line(call);
        let reply = if call.starts_with("RL.RESERVE") { reply[1].clone() } else { reply };
        let [queued, other] = [0, 1].map(|at| reply[at].rate_limit());
        assert_eq!((queued.retry_after_ms, queued.index), (4000, -2), "{call}");
        assert_eq!((other.retry_after_ms, other.index), (3_600_000, -3), "{call}");
    }
}

/// The breaker denies, and the limit grants now, but no more when the breaker admits the call.
#[test]
fn a_breaker_s_denial_knows_the_ends_of_its_limit() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE {x}l 1/h");
    server.line("CB.REPORT {x}b FAIL BREAKER 1:open=10s");
    server.ok("RL.PIN {x}l 100/s FOR 2s");
    let ask = "CB.ACQUIRE {x}b 1:open=10s LIMIT {x}l 1/h";
    assert_eq!(server.line(ask)[3], Reply::Int(3_600_000));
    assert_eq!(server.line(&format!("{ask} TTL 1s"))[3], Reply::Int(3_600_000));
    server.clock_advance(10_000_000);
    let reply = server.line(ask);
    assert_eq!((reply[0].int(), reply[3].int()), (0, 3_590_000));
    server.clock_advance(3_590_000_000);
    assert_eq!(server.line(ask)[0], Reply::Int(1));

    // A reservation that ends before the breaker admits the call no longer stands then.
    server.line("RL.RESERVE 1 {x}r 1/m TTL 5s ID a");
    server.line("CB.REPORT {x}c FAIL BREAKER 1:open=10s");
    let again = "CB.ACQUIRE {x}c 1:open=10s LIMIT {x}r 1/m TTL 5s ID a";
    assert_eq!(server.line(again)[3], Reply::Int(60_000));
    server.clock_advance(60_000_000);
    assert_eq!(server.line(again)[0], Reply::Int(1));

    // A limit that denies now and lets the call through before the breaker does.
    server.line("RL.ACQUIRE {x}s 1/s");
    server.line("CB.REPORT {x}d FAIL BREAKER 1:open=10s");
    assert_eq!(server.line("CB.ACQUIRE {x}d 1:open=10s LIMIT {x}s 1/s")[3], Reply::Int(10_000));
}
