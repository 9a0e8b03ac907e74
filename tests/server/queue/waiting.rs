//! Queues: WAIT on RL.ACQUIRE and RL.RESERVE, RL.QUEUE; W1 to W7 by
//! name, with clients that really block.

use crate::harness::{
    Reply, Server, T0, Wire, assert_error, assert_error_prefix, assert_same_data, call, cluster, eventually,
    wait_synced,
};
use crate::queue::fixtures::{
    MOMENT, SOON, answered, client_id, counter, many_files, queue, used, waiting_now, waits,
};
use crate::support::{denied, granted};
use std::time::{Duration, Instant};

#[test]
fn w1_a_thousand_waiters_are_served_in_order_and_on_time() {
    const COUNT: i64 = 1000;
    many_files();
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k bucket:1000/s COST 1000");
    let cost = |n: i64| n * 7919 % 7 + 1;
    let mut wires: Vec<Wire> = Vec::new();
    for n in 0..COUNT {
        let mut wire = server.wire();
        wire.send_line(&format!("RL.ACQUIRE k bucket:1000/s COST {} WAIT 30s", cost(n)));
        wires.push(wire);
        if n % 50 == 49 || n < 2 {
            eventually(SOON, "they stand in line in this order", || queue(&server, "k")[0] == n + 1);
        } else {
            eventually(SOON, "this one stands in line", || queue(&server, "k")[0] > n);
        }
    }
    assert_eq!(queue(&server, "k"), [COUNT, 0, cost(0)]);
    let mut due = T0;
    for (n, wire) in (0i64..).zip(&mut wires) {
        due += cost(n) * 1000;
        server.clock_set(due - 1);
        assert_eq!(queue(&server, "k")[0], COUNT - n, "a microsecond too early for {n}");
        server.clock_set(due);
        assert_eq!(answered(wire), granted(cost(n)).remaining(0), "waiter {n}");
    }
    assert_eq!(queue(&server, "k"), [0, 0, 0]);
    assert_eq!((counter(&server, "now"), counter(&server, "served")), (0, COUNT));
}

#[test]
fn w1_many_lines_at_once() {
    const KEYS: i64 = 200;
    const EACH: i64 = 20;
    many_files();
    let server = Server::at_t0();
    let mut wires = Vec::new();
    for n in 0..KEYS {
        server.line(&format!("RL.ACQUIRE k{n} 1/s"));
    }
    for turn in 0..EACH {
        for n in 0..KEYS {
            let mut wire = server.wire();
            wire.send_line(&format!("RL.ACQUIRE k{n} 1/s WAIT 30s"));
            wires.push(wire);
        }
        eventually(SOON, "all stand in line", || waiting_now(&server) == (turn + 1) * KEYS);
    }
    // One of each line a second, the first of each first.
    for (turn, wires) in (1..).zip(wires.chunks_mut(usize::try_from(KEYS).unwrap())) {
        server.clock_advance(999_999);
        assert_eq!(waiting_now(&server), (EACH + 1 - turn) * KEYS, "a microsecond too early");
        server.clock_advance(1);
        for wire in wires {
            assert_eq!(answered(wire).granted, 1, "turn {turn}");
        }
        assert_eq!(waiting_now(&server), (EACH - turn) * KEYS);
    }
    assert_eq!(counter(&server, "served"), KEYS * EACH);
}

#[test]
fn w2_nobody_overtakes_but_the_critical() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/s COST 8");
    // Two are left, but the head wants five; then three more, then nine.
    let mut all: Vec<Wire> =
        [5, 3, 9].iter().map(|n| waits(&server, &format!("RL.ACQUIRE k 10/s COST {n} WAIT 30s"))).collect();
    // At 1 s: 5 and 3. At 2 s: 9. One more then; the second at 3 s.
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/s").rate_limit(),
        denied().limit(10).remaining(0).retry_ms(2000).reset_ms(1000).behind_a_line()
    );
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/s COST 2").rate_limit(),
        denied().retry_ms(3000).reset_ms(1000).behind_a_line()
    );
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/s COST 2 PARTIAL").rate_limit(),
        denied().retry_ms(2000).reset_ms(1000).behind_a_line()
    );
    let batch = call!(wire, "RL.BATCH", "EACH", 2, "k", "10/s", 1, "free", "10/s", 1);
    assert_eq!(
        batch[0].rate_limit(),
        denied().limit(10).remaining(0).retry_ms(2000).reset_ms(1000).behind_a_line()
    );
    assert_eq!(batch[1].rate_limit().granted, 1);
    let batch = call!(wire, "RL.BATCH", "ALL", 2, "k", "10/s", 1, "free", "10/s", 1);
    assert_eq!(batch[0].rate_limit(), denied().behind_a_line());
    assert_eq!(batch[1].rate_limit(), denied().by_another_item());
    let reserve = call!(wire, "RL.RESERVE", 1, "k", "10/s", "TTL", "1s");
    assert!(reserve[0].is_nil());
    assert_eq!(reserve[1][0].rate_limit(), denied().retry_ms(2000).reset_ms(1000).behind_a_line());
    assert_eq!(call!(wire, "CL.THROTTLE", "k", 5, 10, 60).to_ints()[0], 1);
    let both = wire.line("CB.ACQUIRE b 50%/60s LIMIT k 10/s");
    assert_eq!(both[0].int(), 0);
    assert_eq!(
        both[4].rate_limit(),
        denied().limit(10).remaining(0).retry_ms(2000).reset_ms(1000).behind_a_line()
    );
    let headers = wire.line("RL.QUOTA k 10/s HEADERS");
    assert_eq!(headers.field("Retry-After").text(), "2");
    assert_eq!(headers.field("X-RateLimit-Remaining").text(), "0");
    // Limits that nobody used are full: what is denied takes nothing of them.
    assert_eq!(
        wire.line("RL.ACQUIRE k 9/h").rate_limit(),
        denied().limit(9).remaining(0).retry_ms(2000).reset_ms(0).behind_a_line()
    );
    assert_eq!(
        wire.line("RL.RESERVE 1 k 9/h TTL 1s")[1][0].rate_limit(),
        denied().limit(9).remaining(0).retry_ms(2000).reset_ms(0).behind_a_line()
    );
    // A critical request passes, and the line moves back accordingly.
    assert_eq!(wire.line("RL.ACQUIRE k 10/s CRITICAL").rate_limit(), granted(1).limit(10).remaining(1));
    assert_eq!(wire.line("RL.ACQUIRE other 10/s").rate_limit().granted, 1, "other keys have no line");
    server.clock_advance(999_999);
    assert_eq!(queue(&server, "k")[0], 3);
    server.clock_advance(1);
    assert_eq!((answered(&mut all[0]).granted, answered(&mut all[1]).granted), (5, 3));
    let told = wire.line("RL.ACQUIRE k 10/s").rate_limit();
    assert_eq!(told, denied().behind_a_line());
    server.clock_advance(told.retry_after_ms * 1000 - 1000);
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().granted, 0);
    server.clock_advance(1000);
    assert_eq!(answered(&mut all[2]).granted, 9);
    assert_eq!(wire.line("RL.ACQUIRE k 10/s").rate_limit().granted, 1, "as it was told");
}

#[test]
fn w1_the_critical_are_served_first_and_in_order() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    let limit = "bucket:10/10s:keep=50%";
    let mut ask = |rest: &str| wire.line(&format!("RL.ACQUIRE k {limit} {rest}")).rate_limit();
    let wait = |rest: &str| waits(&server, &format!("RL.ACQUIRE k {limit} {rest} WAIT 30s"));
    assert!(ask("COST 10 CRITICAL").is_granted());
    let mut ordinary = wait("COST 2");
    server.clock_advance(400_000);
    let mut first = wait("CRITICAL");
    assert_eq!(queue(&server, "k"), [2, 400, 1], "length, longest wait, cost of who is served next");
    let second = wait("COST 3 CRITICAL");
    assert_eq!(queue(&server, "k"), [3, 400, 1]);
    // At 1 s, at 4 s; another critical one comes behind them, at 5 s.
    assert_eq!(ask("CRITICAL"), denied().limit(10).retry_ms(4600).behind_a_line());
    // The others may use half of the capacity: 2 units at 11 s, and one more at 12 s.
    assert_eq!(ask(""), denied().retry_ms(11_600).behind_a_line());
    assert_eq!(server.line("CL.THROTTLE k 4 1 60")[3], Reply::Int(11));
    server.clock_advance(599_999);
    first.assert_blocked_for(MOMENT);
    server.clock_advance(1);
    assert_eq!(answered(&mut first), granted(1).remaining(0));
    assert_eq!(queue(&server, "k"), [2, 1000, 3]);
    drop(second);
    eventually(SOON, "who hung up is gone", || queue(&server, "k") == [1, 1000, 2]);
    // Only the other waits now, whom a critical request passes.
    server.clock_advance(1_000_000);
    assert!(ask("CRITICAL").is_granted());
    assert_eq!(ask("CRITICAL"), denied().retry_ms(1000));
    server.clock_advance(6_999_999);
    ordinary.assert_blocked_for(MOMENT);
    server.clock_advance(1);
    assert_eq!(answered(&mut ordinary).granted, 2);
}

#[test]
fn w3_more_than_there_ever_is_is_denied_at_once() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/s COST 11 WAIT 30s").rate_limit(),
        denied().limit(10).remaining(10).retry_never()
    );
    wire.line("RL.ACQUIRE k 10/s COST 10");
    let mut first = waits(&server, "RL.ACQUIRE k 10/s WAIT 30s");
    assert_eq!(
        wire.line("RL.ACQUIRE k 10/s COST 11 WAIT 30s").rate_limit(),
        denied().retry_never().reset_ms(1000)
    );
    // One in line for whom the limit has become too small is sent away.
    let mut second = waits(&server, "RL.ACQUIRE k 10/s COST 9 WAIT 30s");
    wire.line("RL.PIN k 5/s");
    server.clock_advance(1_000_000);
    assert_eq!(answered(&mut first).granted, 1);
    assert_eq!(answered(&mut second), denied().limit(5).remaining(4).retry_never());
}

#[test]
fn w4_the_head_is_served_within_five_milliseconds() {
    let server = Server::start();
    let mut wire = server.wire();
    // The machine may be busy with other tests: the quarter that it left alone,
    // of one of several tries. A line that were looked at ten times a second
    // would miss it by far.
    let mut tries = 0;
    loop {
        tries += 1;
        let mut late: Vec<Duration> = (0..40)
            .map(|n| {
                let line = format!("RL.ACQUIRE k{tries}:{n} 1/50ms WAIT 1s");
                assert_eq!(wire.line(&line).rate_limit().granted, 1);
                let start = Instant::now();
                assert_eq!(wire.line(&line).rate_limit().granted, 1);
                start.elapsed().saturating_sub(Duration::from_millis(50))
            })
            .collect();
        late.sort();
        if late[10] <= Duration::from_millis(5) {
            break;
        }
        assert!(tries < 20, "{late:?}");
    }
    assert_eq!(counter(&server, "served"), 40 * tries);
}

/// The server itself looks only ten times a second whose wait has ended.
#[test]
fn w5_a_wait_that_ends_moves_the_line_within_milliseconds() {
    let server = Server::start();
    let mut wire = server.wire();
    let mut tries = 0;
    loop {
        tries += 1;
        let mut late: Vec<Duration> = (0..16)
            .map(|n| {
                let key = format!("k{tries}:{n}");
                wire.line(&format!("RL.ACQUIRE {key} 10/h COST 9"));
                let start = Instant::now();
                let _head = waits(&server, &format!("RL.ACQUIRE {key} 10/h COST 2 WAIT 43ms"));
                assert_eq!(wire.line(&format!("RL.ACQUIRE {key} 10/h WAIT 9s")).rate_limit().granted, 1);
                start.elapsed().saturating_sub(Duration::from_millis(43))
            })
            .collect();
        late.sort();
        if late[4] <= Duration::from_millis(6) {
            break;
        }
        assert!(tries < 20, "{late:?}");
    }
}

#[test]
fn w5_the_line_moves_on_at_once() {
    for (what, moves) in [
        ("RL.RESET", "RL.RESET k"),
        ("RL.REFUND", "RL.REFUND k 5"),
        ("DEL", "DEL k"),
        ("UNLINK", "UNLINK k"),
        ("FLUSHDB", "FLUSHDB"),
        ("FLUSHALL", "FLUSHALL ASYNC"),
        ("SWAPDB", "SWAPDB 0 1"),
        ("RENAME away", "RENAME k elsewhere"),
        ("RENAME here", "RENAME fresh k"),
        ("MOVE", "MOVE k 1"),
        ("EXPIRE", "PEXPIREAT k 1"),
        ("a larger limit", "RL.PIN k 50/m"),
        ("RL.CLEAR", "RL.CLEAR 0 COUNT 1000"),
        ("RELEASE", "RL.RELEASE r 1 k"),
        ("COMMIT", "RL.COMMIT r 1 k COST 1"),
    ] {
        let server = Server::at_t0();
        let mut wire = server.wire();
        wire.line("RL.RESERVE 1 k 10/m COST 10 TTL 10s ID r");
        wire.line("RL.ACQUIRE fresh 10/m COST 1");
        let mut first = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
        let mut second = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
        let third = waits(&server, "RL.ACQUIRE k 10/m COST 4 WAIT 30s");
        let reply = wire.line(moves);
        assert!(reply.error().is_none(), "{what}: {reply:?}");
        assert_eq!(
            first.read_within(SOON).unwrap_or_else(|| panic!("{what}")).rate_limit().granted,
            4,
            "{what}"
        );
        let both = what != "RL.REFUND";
        if both {
            assert_eq!(answered(&mut second).granted, 4, "{what}");
        }
        // The third fits only under the larger limit.
        let left = if what == "a larger limit" { 0 } else { 3 - 1 - i64::from(both) };
        eventually(SOON, what, || queue(&server, "k")[0] == left);
        let expected = match what {
            "RL.REFUND" => 9,
            "COMMIT" => 9,
            "a larger limit" => 22,
            "RENAME here" => 9,
            _ => 8,
        };
        assert_eq!(used(&server, "k"), expected, "{what}");
        drop(third);
    }
}

#[test]
fn w5_timeouts_kills_and_unblocks_forget_nobody() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/m COST 8");
    let waiter = |cost: i64| {
        let mut wire = server.wire();
        let id = client_id(&mut wire);
        let before = waiting_now(&server);
        wire.send_line(&format!("RL.ACQUIRE k 10/m COST {cost} WAIT 20s"));
        eventually(SOON, "it stands in line", || waiting_now(&server) == before + 1);
        (wire, id)
    };
    // Each head wants more than the two that are left; behind it somebody fits.
    let (killed, killed_id) = waiter(3);
    let (mut behind, _) = waiter(1);
    assert!(call!(wire, "CLIENT", "LIST").text().contains("cmd=rl.acquire"));
    assert_eq!(call!(wire, "CLIENT", "KILL", "ID", killed_id), Reply::Int(1));
    assert_eq!(answered(&mut behind).granted, 1);
    drop(killed);
    // Now one is left.
    let (mut unblocked, unblocked_id) = waiter(3);
    let (mut with_error, error_id) = waiter(3);
    let (mut dropped, _) = waiter(3);
    let (mut behind, _) = waiter(1);
    assert_eq!(call!(wire, "CLIENT", "UNBLOCK", unblocked_id), Reply::Int(1));
    // As a denial behind the line: they all are served by 60 s, it at 120 s.
    assert_eq!(answered(&mut unblocked), denied().limit(10).behind_a_line());
    assert_eq!(call!(wire, "CLIENT", "UNBLOCK", error_id, "ERROR"), Reply::Int(1));
    assert_error_prefix(&with_error.read(), "UNBLOCKED");
    assert_eq!(queue(&server, "k")[..1], [2]);
    dropped.send_raw(b"");
    drop(dropped);
    assert_eq!(answered(&mut behind).granted, 1);
    assert_eq!((used(&server, "k"), waiting_now(&server)), (10, 0));
    // Time is up for one behind, and then for the head.
    let mut first = waits(&server, "RL.ACQUIRE k 10/m COST 3 WAIT 600ms");
    let mut second = waits(&server, "RL.ACQUIRE k 10/m COST 2 WAIT 1200ms");
    let mut third = waits(&server, "RL.ACQUIRE k 10/m COST 1 WAIT 50ms");
    let late = answered(&mut third);
    assert_eq!((late.granted, late.retry_after_ms, late.index), (0, 60_000, -2));
    first.assert_blocked_for(MOMENT);
    assert_eq!(answered(&mut first).granted, 0);
    second.assert_blocked_for(MOMENT);
    assert_eq!(used(&server, "k"), 10);
    assert_eq!(answered(&mut second).granted, 0);
    let names = ["timed_out", "left", "served", "refused"];
    assert_eq!(names.map(|name| counter(&server, name)), [4, 3, 2, 0]);
}

#[test]
fn w5_by_the_servers_own_clock() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 10/h COST 9");
    let mut first = waits(&server, "RL.ACQUIRE k 10/h COST 3 WAIT 150ms");
    let mut second = waits(&server, "RL.ACQUIRE k 10/h COST 1 WAIT 30s");
    assert_eq!(answered(&mut first).granted, 0);
    assert_eq!(answered(&mut second).granted, 1);
    // A key that expires by itself, and one that somebody lets expire.
    wire.line("RL.ACQUIRE e 1/h");
    let mut waiter = waits(&server, "RL.ACQUIRE e 1/h WAIT 30s");
    wire.line("PEXPIRE e 20");
    assert_eq!(answered(&mut waiter).granted, 1);
    // A block that ends.
    wire.line("RL.BLOCK b FOR 100ms");
    let start = Instant::now();
    assert_eq!(wire.line("RL.ACQUIRE b 1/h WAIT 30s").rate_limit().granted, 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn w5_changed_settings_move_every_line() {
    let server =
        Server::builder().module_args(["enable-debug-command", "yes", "default-limit", "10/m"]).start();
    server.clock_set(T0);
    if !server.at_least(7, 0) {
        return;
    }
    for key in ["a", "b"] {
        server.line(&format!("RL.ACQUIRE {key} COST 10"));
    }
    let mut a = waits(&server, "RL.ACQUIRE a WAIT 30s");
    let mut b = waits(&server, "RL.ACQUIRE b WAIT 30s");
    server.config_set("floodgate.default-limit", "20/m");
    assert_eq!((answered(&mut a).granted, answered(&mut b).granted), (1, 1));
}

#[test]
fn w6_lines_are_bounded() {
    let server = Server::builder()
        .module_args(["enable-debug-command", "yes", "queue-max", "2", "waiters-max", "3", "wait-max", "10s"])
        .start();
    server.clock_set(T0);
    let mut wire = server.wire();
    for key in ["a", "b", "c"] {
        wire.line(&format!("RL.ACQUIRE {key} 1/s"));
    }
    let mut all =
        vec![waits(&server, "RL.ACQUIRE a 1/s WAIT 9s"), waits(&server, "RL.ACQUIRE a 1/s WAIT 9s")];
    assert_eq!(
        wire.line("RL.ACQUIRE a 1/s WAIT 9s").rate_limit(),
        denied().limit(1).remaining(0).retry_ms(3000).reset_ms(1000).behind_a_line()
    );
    all.push(waits(&server, "RL.ACQUIRE b 1/s WAIT 10s"));
    assert_eq!(
        wire.line("RL.ACQUIRE c 1/s WAIT 9s").rate_limit(),
        denied().limit(1).remaining(0).retry_ms(1000).reset_ms(1000)
    );
    assert_eq!(counter(&server, "refused"), 2);
    assert_error(
        &wire.line("RL.ACQUIRE a 1/s WAIT 10001ms"),
        "ERR WAIT must be at most 10000ms (setting wait-max)",
    );
    assert_error_prefix(&wire.line("RL.ACQUIRE a 1/s WAIT soon"), "ERR invalid duration 'soon'");
    assert_error_prefix(&wire.line("RL.ACQUIRE a 1/s PARTIAL WAIT 1s"), "ERR syntax error");
    assert_error_prefix(&wire.line("RL.ACQUIRE a 1/s WAIT 1s PARTIAL"), "ERR syntax error");
    assert_eq!(wire.line("RL.ACQUIRE a 1/s WAIT 0").rate_limit().index, -2, "not waiting is no wait");
    server.clock_advance(1_000_000);
    assert_eq!((answered(&mut all[0]).granted, answered(&mut all[2]).granted), (1, 1));
    if server.at_least(7, 0) {
        assert_eq!(server.config_get("floodgate.wait-max").as_deref(), Some("10s"));
        server.config_set("floodgate.queue-max", "5");
        server.config_set("floodgate.wait-max", "1h");
        waits(&server, "RL.ACQUIRE a 1/s WAIT 30m");
    }
}

#[test]
fn w7_where_blocking_is_denied_wait_is_ignored() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    wire.line("RL.ACQUIRE k 1/s");
    wire.line("MULTI");
    wire.line("RL.ACQUIRE k 1/s WAIT 30s");
    wire.line("RL.RESERVE 1 k 1/s TTL 1s WAIT 30s");
    let reply = wire.line("EXEC");
    assert_eq!(reply[0].rate_limit(), denied().limit(1).remaining(0).retry_ms(1000).reset_ms(1000));
    assert!(reply[1][0].is_nil());
    let script = "return redis.call('RL.ACQUIRE', 'k', '1/s', 'WAIT', '30s')";
    assert_eq!(
        call!(wire, "EVAL", script, 1, "k").rate_limit(),
        denied().limit(1).remaining(0).retry_ms(1000).reset_ms(1000)
    );
    // And where a line stands.
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/s WAIT 30s");
    assert_eq!(
        call!(wire, "EVAL", script, 1, "k").rate_limit(),
        denied().retry_ms(2000).reset_ms(1000).behind_a_line()
    );
    server.clock_advance(400_000);
    assert_eq!(queue(&server, "k"), [1, 400, 1]);
    assert_eq!(queue(&server, "nobody"), [0, 0, 0]);
    server.line("SET text 1");
    assert_error_prefix(&server.line("RL.QUEUE text"), "WRONGTYPE");
    // A transaction that gives back moves the line when it is done.
    for line in ["MULTI", "RL.RESET k", "RL.ACQUIRE k 1/s", "EXEC"] {
        wire.line(line);
    }
    assert_eq!(answered(&mut waiter).granted, 1, "nobody overtook it in the transaction");
}

#[test]
fn reservations_wait_for_places_and_units() {
    let server = Server::at_t0();
    let mut wire = server.wire();
    let limits = "concurrent:1,100/m";
    wire.line(&format!("RL.RESERVE 1 k {limits} COST 10 TTL 5s ID a"));
    let mut b = waits(&server, &format!("RL.RESERVE 1 k {limits} COST 10 TTL 5s ID b WAIT 30s"));
    let mut c = waits(&server, &format!("RL.RESERVE 1 k {limits} COST 10 TTL 5s WAIT 30s"));
    // Behind both: b until 10 s, c until 15 s.
    let told = wire.line(&format!("RL.RESERVE 1 k {limits} TTL 5s"));
    assert_eq!(told[1][0].rate_limit(), denied().retry_ms(15_000).reset_ms(5000).behind_a_line());
    // A retry of one that stands is no new request.
    assert_eq!(wire.line(&format!("RL.RESERVE 1 k {limits} COST 10 TTL 5s ID a"))[0], Reply::bulk("a"));
    server.clock_advance(1_000_000);
    wire.line("RL.COMMIT a 1 k COST 4");
    let reply = b.read_within(SOON).expect("its place is free");
    assert_eq!(reply[0], Reply::bulk("b"));
    assert_eq!(reply[1][0].rate_limit(), granted(10).limit(1).remaining(0).reset_ms(5000));
    // Nobody settles b: its place is free at the end of its time.
    server.clock_advance(4_999_999);
    c.assert_blocked_for(MOMENT);
    server.clock_advance(1);
    let reply = c.read_within(SOON).expect("its place is free");
    assert_eq!(reply[0].text().len(), 32);
    assert_eq!(used(&server, "k"), 1);
    let mut d = waits(&server, &format!("RL.RESERVE 1 k {limits} TTL 5s WAIT 2s"));
    server.clock_advance(2_000_000);
    let reply = d.read_within(SOON).expect("its time is up");
    assert!(reply[0].is_nil());
    assert_eq!(reply[1][0].rate_limit(), denied().limit(1).remaining(0).retry_ms(3000).reset_ms(3000));
    assert_error(&wire.line("RL.RESERVE 2 a 1/s b 1/s TTL 1s WAIT 1s"), "ERR WAIT works with one key only");
    // The forecasts of the line were never counted.
    assert_eq!(server.counter("reservations_held"), 1);
    assert_eq!(server.counter("reservations_expired"), 1);
}

#[test]
fn a_replica_and_a_restart_have_the_grants_at_their_own_times() {
    let mut server = Server::durable();
    server.clock_set(T0);
    let replica = server.replica();
    server.line("RL.ACQUIRE k 10/m COST 10");
    server.line("SELECT 0");
    let mut a = waits(&server, "RL.ACQUIRE k 10/m COST 3 WAIT 30s");
    let mut other = server.wire();
    other.line("SELECT 3");
    other.line("RL.ACQUIRE k 10/m COST 10");
    let mut b = server.wire();
    b.line("SELECT 3");
    b.send_line("RL.RESERVE 1 k 10/m COST 3 TTL 5s ID r WAIT 30s");
    eventually(SOON, "it stands in line", || waiting_now(&server) == 2);
    server.clock_advance(7_000_000);
    server.line("RL.REFUND k 5");
    assert_eq!(answered(&mut a).granted, 3);
    server.clock_advance(1_000_000);
    other.line("DEL k");
    assert_eq!(b.read_within(SOON).expect("it is served")[0], Reply::bulk("r"));
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    let before = crate::harness::snapshot(&server);
    server.kill9();
    server.restart();
    server.clock_set(T0);
    assert_eq!(crate::harness::snapshot(&server), before);
}

#[test]
fn a_master_that_becomes_a_replica_unblocks_its_waiters() {
    let server = Server::at_t0();
    let replica = server.replica();
    replica.clock_set(T0);
    server.line("RL.ACQUIRE k 1/m");
    let mut all: Vec<Wire> = (0..100).map(|_| waits(&server, "RL.ACQUIRE k 1/m WAIT 30s")).collect();
    assert_eq!(queue(&replica, "k")[0], 0);
    wait_synced(&server, &replica);
    replica.ok("REPLICAOF NO ONE");
    server.follow(&replica);
    for wire in &mut all {
        assert_error_prefix(&wire.read(), "UNBLOCKED");
    }
    assert_eq!(waiting_now(&server), 0);
    server.clock_advance(60_000_000);
    assert_eq!(used(&replica, "k"), 1, "nothing was charged");
    assert_same_data(&server, &replica);
    replica.clock_advance(60_000_000);
    assert_eq!(replica.line("RL.ACQUIRE k 1/m").rate_limit().granted, 1);
}

#[test]
fn nothing_is_written_while_clients_are_paused() {
    let server = Server::start();
    let replica = server.replica();
    server.line("RL.ACQUIRE k 1/100ms");
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/100ms WAIT 10s");
    server.line("CLIENT PAUSE 400 WRITE");
    let start = Instant::now();
    assert_eq!(answered(&mut waiter).granted, 1);
    assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn a_server_shuts_down_while_clients_wait() {
    let mut server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/m");
    let all: Vec<Wire> = (0..20).map(|_| waits(&server, "RL.ACQUIRE k 1/m WAIT 30s")).collect();
    server.stop_save();
    for mut wire in all {
        assert!(wire.closes_within(SOON));
    }
    server.restart();
    server.clock_set(T0);
    assert_eq!((waiting_now(&server), used(&server, "k")), (0, 1), "nothing was charged");
}

#[test]
fn a_key_of_another_type_sends_the_line_away() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/m");
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/m WAIT 30s");
    server.line("SET text 1");
    server.line("RENAME text k");
    assert_error_prefix(&waiter.read(), "WRONGTYPE");
    assert_eq!(waiting_now(&server), 0);
}

#[test]
fn a_slot_that_moves_away_answers_moved() {
    let cluster = cluster(3, 0);
    let from = cluster.owner("k");
    let masters = cluster.masters();
    let to = masters.iter().find(|node| node.port() != from.port()).expect("another node");
    let slot = cluster.slot("k");
    from.clock_set(T0);
    from.line("RL.ACQUIRE k 10/m COST 10");
    let mut all: Vec<Wire> = (0..20).map(|_| waits(from, "RL.ACQUIRE k 10/m COST 2 WAIT 30s")).collect();
    to.ok(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.node_id()));
    from.ok(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.node_id()));
    from.ok(&format!("MIGRATE 127.0.0.1 {} k 0 5000", to.port()));
    // The key is gone from here, which is no reason to grant.
    all[0].assert_blocked_for(Duration::from_millis(100));
    for node in [to, from] {
        node.ok(&format!("CLUSTER SETSLOT {slot} NODE {}", to.node_id()));
    }
    for wire in &mut all {
        assert_error_prefix(&wire.read(), "MOVED");
    }
    to.clock_set(T0);
    assert_eq!(used(to, "k"), 10, "nothing was charged");
    assert_eq!(waiting_now(from), 0);
    // They stand in line again where the key is now.
    let mut again = waits(to, "RL.ACQUIRE k 10/m COST 2 WAIT 30s");
    to.line("RL.REFUND k 2");
    assert_eq!(answered(&mut again).granted, 2);
}

#[test]
fn w5_a_changed_policy_moves_every_line() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET small 10/m PREFIX p:");
    server.line("RL.ACQUIRE p:1 COST 10");
    let mut waiter = waits(&server, "RL.ACQUIRE p:1 COST 3 WAIT 30s");
    server.ok("RL.POLICY SET small 20/m PREFIX p:");
    assert_eq!(answered(&mut waiter).granted, 3);
}
