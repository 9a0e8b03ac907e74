//! What a request behind a line is told: the time at which it is granted if nobody else asks.

use crate::harness::{Reply, Server, T0, Wire, eventually};
use crate::histories::run_histories;
use crate::models::queue::{Outcome, QueueKey, QueueModel, QueuedCall, Waiter};
use crate::queue::fixtures::{SOON, answered, client_id, counter, many_files, queue, waiting_now, waits};
use crate::queue::histories::{call, command, ms, six};
use crate::support::denied;
use proptest::prelude::*;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// `[limited, limit, remaining, retry, reset]` of each command of redis-cell's arithmetic.
fn throttled(server: &Server, key: &str, quantity: u64) -> Vec<Reply> {
    vec![
        server.line(&format!("CL.THROTTLE {key} 4 1 60 {quantity}")),
        server.line(&format!("RL.THROTTLE {key} 4 1 60 {quantity}")),
        server.line(&format!("GCRA {key} 4 1 60 TOKENS {quantity}")),
    ]
}

#[test]
fn a_throttled_request_waits_for_the_line_and_then_for_its_own_units() {
    let server = Server::at_t0();
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
    assert_eq!(server.line("CL.THROTTLE m 4 1 60 3"), Reply::ints(&[1, 5, 1, 120, 240]));
    server.clock_set(T0 + 180_000_000);
    assert_eq!(server.line("CL.THROTTLE m 4 1 60 3"), Reply::ints(&[0, 5, 0, -1, 300]));
}

#[test]
fn a_throttled_request_behind_a_line_goes_by_the_pin_and_by_what_follows_it() {
    let server = Server::at_t0();
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
    let server = Server::at_t0();
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

/// What each command tells a critical request for a unit of `k`, in milliseconds. All are denied.
#[track_caller]
fn told_critical(server: &Server, limits: &str) -> Vec<i64> {
    let six = |reply: Reply| {
        let reply = reply.rate_limit();
        assert!((reply.granted, reply.index) == (0, 0), "{limits}: {reply:?}");
        reply.retry_after_ms
    };
    let limit = server.line(&format!("CB.ACQUIRE b 1 LIMIT k {limits} CRITICAL"));
    let place = server.line(&format!("CB.ACQUIRE b 1 LIMIT k {limits} TTL 5s CRITICAL"));
    vec![
        six(server.line(&format!("RL.ACQUIRE k {limits} CRITICAL"))),
        six(server.line(&format!("RL.ACQUIRE k {limits} COST 1 PARTIAL CRITICAL"))),
        six(server.line(&format!("RL.RESERVE 1 k {limits} TTL 5s CRITICAL"))[1][0].clone()),
        six(server.line(&format!("RL.BATCH EACH 1 k {limits} 1 CRITICAL"))[0].clone()),
        limit[3].int(),
        six(limit[4].clone()),
        place[3].int(),
        six(place[4][1].clone()),
    ]
}

#[test]
fn a_critical_request_is_told_when_the_line_leaves_units_for_it() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/s");
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/s WAIT 20s");
    assert_eq!(told_critical(&server, "1/s"), [2000; 8], "the waiter has its unit after 1000 ms");
    server.clock_advance(1_000_000);
    assert!(answered(&mut waiter).is_granted());
    assert_eq!(told_critical(&server, "1/s"), [1000; 8]);
}

#[test]
fn a_critical_request_overtakes_a_waiter_that_needs_more_than_comes_back_first() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 3/s");
    server.clock_advance(400_000);
    server.line("RL.ACQUIRE k 3/s COST 2");
    let _waiter = waits(&server, "RL.ACQUIRE k 3/s COST 2 WAIT 20s");
    assert_eq!(told_critical(&server, "3/s"), [600; 8]);
    let two = server.line("RL.ACQUIRE k 3/s COST 2 CRITICAL").rate_limit();
    assert_eq!(two.retry_after_ms, 2000, "one comes back after 600 ms, and the waiter has two after 1000");
}

#[test]
fn a_critical_request_behind_another_is_told_what_the_ordinary_line_takes_meanwhile() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/s");
    let _waiter = waits(&server, "RL.ACQUIRE k 1/s WAIT 20s");
    let _critical = waits(&server, "RL.ACQUIRE k 1/s WAIT 20s CRITICAL");
    let behind = denied().limit(1).remaining(0).retry_ms(3000).behind_a_line();
    assert_eq!(server.line("RL.ACQUIRE k 1/s CRITICAL").rate_limit(), behind);
}

#[test]
fn a_critical_request_that_closes_a_limit_is_told_what_the_line_takes_then() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/s:block=5s");
    let mut waiter = waits(&server, "RL.ACQUIRE k 1/s:block=5s WAIT 20s");
    let told = |retry_ms| {
        let reply = server.line("RL.ACQUIRE k 1/s:block=5s CRITICAL").rate_limit();
        assert_eq!((reply.granted, reply.retry_after_ms), (0, retry_ms));
    };
    told(6000);
    server.clock_advance(4_000_000);
    told(2000);
    server.clock_advance(1_000_000);
    assert!(answered(&mut waiter).is_granted());
    server.clock_advance(1_000_000);
    assert!(server.line("RL.ACQUIRE k 1/s:block=5s CRITICAL").rate_limit().is_granted());
}

#[test]
fn a_critical_wait_that_ends_is_told_what_the_line_takes() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE k 1/s");
    let _ordinary = waits(&server, "RL.ACQUIRE k 1/s WAIT 20s");
    let mut critical = server.wire();
    let id = client_id(&mut critical);
    critical.send_line("RL.ACQUIRE k 1/s WAIT 20s CRITICAL");
    eventually(SOON, "it waits", || waiting_now(&server) == 2);
    assert_eq!(server.line(&format!("CLIENT UNBLOCK {id}")), Reply::Int(1));
    assert_eq!(answered(&mut critical).retry_after_ms, 2000);
}

/// A request is told a time at which it is granted, and not 2 ms earlier: about `expected_ms` after
/// `begun`.
#[track_caller]
fn is_granted_when_told(wire: &mut Wire, line: &str, begun: Instant, expected_ms: i64) {
    let asked = Instant::now();
    let told = wire.line(line);
    let told = if line.starts_with("RL.RESERVE") { told[1][0].rate_limit() } else { told.rate_limit() };
    assert_eq!((told.granted, told.index), (0, -2), "{line}: {told:?}");
    // A wait ends in the millisecond after its time.
    let since_ms = i64::try_from(begun.elapsed().as_millis()).unwrap();
    let about = expected_ms - since_ms - 1..=expected_ms + 2;
    assert!(about.contains(&told.retry_after_ms), "{line}: {told:?}, not {about:?}");
    let told = Duration::from_millis(told.retry_after_ms.unsigned_abs());
    let early = told.saturating_sub(Duration::from_millis(50));
    std::thread::sleep(early.saturating_sub(asked.elapsed()));
    let granted = |reply: &Reply| {
        if line.starts_with("RL.RESERVE") { !reply[0].is_nil() } else { reply.rate_limit().is_granted() }
    };
    if asked.elapsed() < told.saturating_sub(Duration::from_millis(20)) {
        let reply = wire.line(line);
        // A machine that was busy meanwhile shows nothing.
        let late = asked.elapsed() > told.saturating_sub(Duration::from_millis(2));
        assert!(late || !granted(&reply), "{line} is granted early: {reply:?}");
    }
    std::thread::sleep((told + Duration::from_millis(1)).saturating_sub(asked.elapsed()));
    // A busy machine ends a wait some milliseconds late.
    eventually(Duration::from_secs(1), line, || granted(&wire.line(line)));
}

#[test]
fn a_line_ends_when_its_last_wait_does() {
    let server = Server::start();
    let mut wire = server.wire();
    // At one unit a second, ten of them do not come back in time.
    wire.line("RL.ACQUIRE a bucket:60/m COST 60");
    let begun = Instant::now();
    let mut waiter = waits(&server, "RL.ACQUIRE a bucket:60/m COST 10 WAIT 1200ms");
    is_granted_when_told(&mut wire, "RL.ACQUIRE a bucket:60/m", begun, 1200);
    assert!(!answered(&mut waiter).is_granted());
    let begun = Instant::now();
    wire.line("RL.RESERVE 1 c concurrent:1,5/m TTL 1500ms ID a");
    let _waiter = waits(&server, "RL.RESERVE 1 c concurrent:1 TTL 1m ID b WAIT 700ms");
    is_granted_when_told(&mut wire, "RL.RESERVE 1 c concurrent:1 TTL 1m ID c", begun, 1500);
}

#[test]
fn a_wait_that_ends_during_a_block_takes_nothing_of_what_comes_then() {
    let server = Server::start();
    server.ok("RL.PIN k fixed:3/ever FOR 20s");
    server.ok("RL.BLOCK k FOR 1500ms");
    let mut early = waits(&server, "RL.ACQUIRE k 2/s WAIT 600ms");
    let mut all = waits(&server, "RL.ACQUIRE k 2/s COST 3 WAIT 20s");
    assert!(!answered(&mut early).is_granted());
    assert_eq!(answered(&mut all).granted, 3);
}

#[test]
fn a_thousand_waits_end_together() {
    let server = Server::start();
    let mut wire = server.wire();
    many_files();
    wire.line("RL.ACQUIRE k bucket:1000/h COST 1000");
    let mut wires: Vec<Wire> = Vec::new();
    for _ in 0..1000 {
        let mut wire = server.wire();
        wire.send_line("RL.ACQUIRE k bucket:1000/h WAIT 30s");
        wires.push(wire);
    }
    eventually(SOON, "all stand in line", || queue(&server, "k")[0] + counter(&server, "served") == 1000);
    // A unit comes back each 3.6 s.
    let told = wire.line("RL.ACQUIRE k bucket:1000/h").rate_limit().retry_after_ms;
    assert!((5_000..=33_700).contains(&told), "{told}");
    let headers = wire.line("RL.QUOTA k bucket:1000/h HEADERS").field("Retry-After").text();
    assert!((5..=34).contains(&headers.parse::<i64>().unwrap()), "{headers}");
    assert!((5..=34).contains(&wire.line("CL.THROTTLE k 4 1 60")[3].int()));
}

/// One step of a short history by the server's own clock.
#[derive(Clone, Debug)]
enum Step {
    /// A call that does not wait.
    Ask(QueuedCall),
    /// One that waits for so many seconds, and a part of a second in which nothing else happens.
    Wait(QueuedCall, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![call().prop_map(Step::Ask), (call(), 0..3u64).prop_map(|(call, s)| Step::Wait(call, s))]
}

const KEY: QueueKey = QueueKey { db: 0, key: 0 };
/// The steps of a history take less than this, or say nothing. The times of what happens later are
/// further apart.
const QUICK: Duration = Duration::from_millis(40);

/// Returns the number of retries that were compared.
fn compare_with_model(server: &Server, steps: &[Step]) -> u32 {
    let mut wire = server.wire();
    wire.line("FLUSHALL");
    let (begun, mut model) = (Instant::now(), QueueModel::new(T0.cast_unsigned(), 10));
    let (mut compared, mut part_ms) = (0, 150);
    for step in steps {
        model.now = T0.cast_unsigned() + begun.elapsed().as_micros() as u64;
        let (Step::Ask(call) | Step::Wait(call, _)) = step;
        let wait = model.wait(KEY, call);
        let outcome = model.arrives(KEY, call);
        // Whether it can have its units before a waiter may be a matter of microseconds.
        let beside = call.critical && model.queues.get(&KEY).is_some_and(|queue| !queue.is_empty());
        match step {
            Step::Wait(_, seconds) if outcome == Outcome::MustWait && part_ms < 900 => {
                let ms = seconds * 1000 + part_ms;
                part_ms += 100;
                let mut who = server.wire();
                who.send_line(&format!("{} WAIT {ms}ms", command(KEY, call)));
                let until = Some(model.now + ms * 1000 + 1000);
                model.join(KEY, Waiter { call: *call, until, who });
                let length = model.length(KEY) as i64;
                while wire.line("RL.QUEUE q:k")[0].int() < length && begun.elapsed() < QUICK {}
            }
            _ => {
                let reply = six(call, &wire.line(&command(KEY, call)));
                if begun.elapsed() > QUICK {
                    break;
                }
                assert_eq!(reply.is_granted(), outcome == Outcome::Granted, "{call:?}: {reply:?}");
                let apart = (reply.retry_after_ms - ms(wait)).unsigned_abs();
                let right = reply.is_granted() || beside || u128::from(apart) <= QUICK.as_millis();
                assert!(right, "{call:?}: {reply:?}, but {wait:?}");
                compared += u32::from(!reply.is_granted() && wait.is_some());
            }
        }
        if begun.elapsed() > QUICK {
            break;
        }
    }
    drop(model);
    eventually(SOON, "everybody has gone", || waiting_now(server) == 0);
    compared
}

#[test]
fn random_waits_that_end_are_told_as_by_the_model() {
    let server = Server::start();
    server.ok("RL.POLICY SET p 10/s:keep=30% PREFIX q:");
    let compared = Cell::new(0);
    run_histories(file!(), 150, &prop::collection::vec(step(), 4..16), |steps| {
        compared.set(compared.get() + compare_with_model(&server, steps));
    });
    assert!(compared.get() > 50, "{compared:?}");
}
