//! RL.ACQUIRE: every field of the reply, every option, and which limits hold.

use crate::harness::{Reply, Server, T0, Wire, assert_error, assert_error_prefix, call};
use crate::limits::fixtures::{acquire, assert_acquire};
use crate::support::{Dice, denied, granted};

#[test]
fn the_six_integers_of_a_sliding_limit() {
    let server = Server::at_t0();
    assert_acquire(&server, "k 10/s COST 3", granted(3).limit(10).remaining(7).reset_ms(1000));
    assert_acquire(&server, "k 10/s COST 8", denied().limit(10).remaining(7).retry_ms(1000).reset_ms(1000));
    server.clock_advance(400_000);
    assert_acquire(&server, "k 10/s cost 5", granted(5).limit(10).remaining(2).reset_ms(1000));
    assert_acquire(&server, "k 10/s COST 3", denied().limit(10).remaining(2).retry_ms(600).reset_ms(1000));
    assert_acquire(&server, "k 10/s COST 6", denied().limit(10).remaining(2).retry_ms(1000).reset_ms(1000));
    assert_acquire(&server, "k 10/s COST 10", denied().limit(10).remaining(2).retry_ms(1000).reset_ms(1000));
    assert_acquire(&server, "k 10/s COST 11", denied().limit(10).remaining(2).retry_never().reset_ms(1000));
    assert_acquire(&server, "k 10/s", granted(1).limit(10).remaining(1).reset_ms(1000));
    // One microsecond before its time it is still denied, and the wait is rounded up.
    server.clock_advance(599_999);
    assert_acquire(&server, "k 10/s COST 4", denied().limit(10).remaining(1).retry_ms(1).reset_ms(401));
    server.clock_advance(1);
    assert_acquire(&server, "k 10/s COST 4", granted(4).limit(10).remaining(0).reset_ms(1000));
}

#[test]
fn the_six_integers_of_a_bucket_and_of_windows() {
    let server = Server::at_t0();
    assert_acquire(
        &server,
        "b bucket:10/s:burst=50 COST 50",
        granted(50).limit(50).remaining(0).reset_ms(5000),
    );
    assert_acquire(
        &server,
        "b bucket:10/s:burst=50",
        denied().limit(50).remaining(0).retry_ms(100).reset_ms(5000),
    );
    server.clock_advance(250_000);
    assert_acquire(
        &server,
        "b bucket:10/s:burst=50 COST 3",
        denied().limit(50).remaining(2).retry_ms(50).reset_ms(4750),
    );
    assert_acquire(
        &server,
        "b bucket:10/s:burst=50 COST 2",
        granted(2).limit(50).remaining(0).reset_ms(4950),
    );
    assert_acquire(
        &server,
        "b bucket:10/s:burst=50 COST 51",
        denied().limit(50).remaining(0).retry_never().reset_ms(4950),
    );

    server.clock_set(T0 + 600_000_000);
    assert_acquire(&server, "f fixed:5/h COST 4", granted(4).limit(5).remaining(1).reset_ms(3_000_000));
    assert_acquire(
        &server,
        "f fixed:5/h COST 2",
        denied().limit(5).remaining(1).retry_ms(3_000_000).reset_ms(3_000_000),
    );
    server.clock_set(T0 + 3_599_999_999);
    assert_acquire(&server, "f fixed:5/h COST 2", denied().limit(5).remaining(1).retry_ms(1).reset_ms(1));
    server.clock_set(T0 + 3_600_000_000);
    assert_acquire(&server, "f fixed:5/h COST 2", granted(2).limit(5).remaining(3).reset_ms(3_600_000));
    // start=first: the window opens at the first grant.
    server.clock_set(T0 + 600_000_000);
    assert_acquire(
        &server,
        "first fixed:5/h:start=first",
        granted(1).limit(5).remaining(4).reset_ms(3_600_000),
    );
    // Midnight in Paris is 23:00 UTC in January: 15 hours from 08:00.
    server.clock_set(T0);
    assert_acquire(
        &server,
        "paris fixed:5/day:tz=Europe/Paris",
        granted(1).limit(5).remaining(4).reset_ms(15 * 3_600_000),
    );
    assert_acquire(&server, "utc fixed:5/day", granted(1).limit(5).remaining(4).reset_ms(16 * 3_600_000));
    // 2027-01-15 is a Friday; the week ends on Monday, the month on the 1st.
    assert_acquire(
        &server,
        "week fixed:5/w",
        granted(1).limit(5).remaining(4).reset_ms((16 + 48) * 3_600_000),
    );
    assert_acquire(
        &server,
        "month fixed:5/month",
        granted(1).limit(5).remaining(4).reset_ms((16 + 16 * 24) * 3_600_000),
    );
}

#[test]
fn both_protocols_give_an_array_of_integers() {
    let server = Server::at_t0();
    let (mut two, mut three) = (server.wire(), server.wire3());
    assert_eq!(two.line("RL.ACQUIRE a 10/s"), Reply::ints(&[1, 10, 9, 0, 1000, 0]));
    assert_eq!(three.line("RL.ACQUIRE b 10/s"), Reply::ints(&[1, 10, 9, 0, 1000, 0]));
    assert_eq!(three.line("rl.acquire b 10/S COST 10"), Reply::ints(&[0, 10, 9, 1000, 1000, 0]));
}

#[test]
fn partial_takes_what_there_is() {
    let server = Server::at_t0();
    assert_acquire(
        &server,
        "k 10/s,6/m COST 8 PARTIAL",
        granted(6).limit(6).remaining(0).reset_ms(60_000).index(1),
    );
    // The wait is that of one unit.
    assert_acquire(
        &server,
        "k 10/s,6/m COST 8 PARTIAL",
        denied().limit(6).remaining(0).retry_ms(60_000).reset_ms(60_000).index(1),
    );
    server.clock_advance(60_000_000);
    assert_acquire(
        &server,
        "k 10/s,6/m PARTIAL COST 2",
        granted(2).limit(6).remaining(4).reset_ms(60_000).index(1),
    );
    // Even a cost above capacity gives what there is, and waits for one unit.
    assert_acquire(
        &server,
        "big 5/s COST 1000000000000 PARTIAL",
        granted(5).limit(5).remaining(0).reset_ms(1000),
    );
    assert_acquire(
        &server,
        "big 5/s COST 1000000000000 PARTIAL",
        denied().limit(5).remaining(0).retry_ms(1000).reset_ms(1000),
    );
    // A limit per call does not bound the units, but denies the call.
    assert_acquire(
        &server,
        "calls 100/m,1/m:per=call COST 30 PARTIAL",
        granted(30).limit(1).remaining(0).reset_ms(60_000).index(1),
    );
    assert_acquire(
        &server,
        "calls 100/m,1/m:per=call COST 30 PARTIAL",
        denied().limit(1).remaining(0).retry_ms(60_000).reset_ms(60_000).index(1),
    );
}

#[test]
fn keep_is_for_critical_requests_only() {
    let server = Server::at_t0();
    assert_acquire(&server, "k 10/m:keep=30% COST 7", granted(7).limit(10).remaining(0).reset_ms(60_000));
    assert_acquire(
        &server,
        "k 10/m:keep=30%",
        denied().limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    assert_acquire(
        &server,
        "k 10/m:keep=30% CRITICAL COST 2",
        granted(2).limit(10).remaining(1).reset_ms(60_000),
    );
    assert_acquire(&server, "k 10/m:keep=30% CRITICAL", granted(1).limit(10).remaining(0).reset_ms(60_000));
    assert_acquire(
        &server,
        "k 10/m:keep=30% CRITICAL",
        denied().limit(10).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    // More than the usable part can never be had, unless it is critical.
    assert_acquire(
        &server,
        "new 10/m:keep=30% COST 8",
        denied().limit(10).remaining(7).retry_never().reset_ms(0),
    );
    assert_acquire(
        &server,
        "new 10/m:keep=30% COST 8 CRITICAL",
        granted(8).limit(10).remaining(2).reset_ms(60_000),
    );
    assert_acquire(
        &server,
        "p 10/m:keep=30% COST 10 PARTIAL",
        granted(7).limit(10).remaining(0).reset_ms(60_000),
    );
    // What is kept is whole units, rounded down: two of ten, none of one.
    assert_acquire(&server, "q 10/m:keep=25% COST 8", granted(8).limit(10).remaining(0).reset_ms(60_000));
    assert_acquire(&server, "r 1/s:keep=10%", granted(1).limit(1).remaining(0).reset_ms(1000));
    assert_acquire(&server, "s 5/s:keep=1% COST 5", granted(5).limit(5).remaining(0).reset_ms(1000));
}

#[test]
fn shadow_limits_count_and_never_deny() {
    let server = Server::at_t0();
    assert_acquire(
        &server,
        "k 2/m:shadow:name=try,10/m COST 2",
        granted(2).limit(10).remaining(8).reset_ms(60_000).index(1),
    );
    // The shadow would deny: it takes nothing, the others take theirs.
    assert_acquire(
        &server,
        "k 2/m:shadow:name=try,10/m COST 3",
        granted(3).limit(10).remaining(5).reset_ms(60_000).index(1),
    );
    assert_eq!(server.counter("shadow_denied"), 1);
    let rows = server.line("RL.QUOTA k");
    assert_eq!(rows[0].field("used"), Reply::Int(2));
    assert_eq!(rows[1].field("used"), Reply::Int(5));
    // Denied by the enforcing limit: the shadow is not charged.
    assert_acquire(
        &server,
        "k 3/h:shadow,10/m COST 6",
        denied().limit(10).remaining(5).retry_ms(60_000).reset_ms(60_000).index(1),
    );
    assert_eq!(server.line("RL.QUOTA k 3/h:shadow,10/m")[0].field("used"), Reply::Int(0));
    // Shadow limits alone: the reply of unlimited.
    for _ in 0..3 {
        assert_acquire(&server, "only 1/m:shadow", granted(1).unlimited());
    }
    assert_eq!(server.counter("shadow_denied"), 4);
}

#[test]
fn unlimited_always_grants() {
    let server = Server::at_t0();
    assert_acquire(&server, "k unlimited COST 1000000000000", granted(1_000_000_000_000).unlimited());
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    // Beside another limit it has infinite remaining, so the other binds.
    assert_acquire(
        &server,
        "k UNLIMITED,10/s COST 4",
        granted(4).limit(10).remaining(6).reset_ms(1000).index(1),
    );
    assert_acquire(
        &server,
        "k unlimited,10/s COST 7",
        denied().limit(10).remaining(6).retry_ms(1000).reset_ms(1000).index(1),
    );
}

#[test]
fn the_binding_limit() {
    let server = Server::at_t0();
    // Granted: the least remaining; of equals the first.
    assert_acquire(&server, "a 10/s,5/m,100/h", granted(1).limit(5).remaining(4).reset_ms(60_000).index(1));
    assert_acquire(&server, "b 5/s,5/m", granted(1).limit(5).remaining(4).reset_ms(1000));
    assert_acquire(&server, "b 5/m,5/s", granted(1).limit(5).remaining(3).reset_ms(60_000));
    // Denied: the longest wait, and never is the longest.
    assert_acquire(
        &server,
        "a 10/s,5/m,100/h COST 6",
        denied().limit(5).remaining(4).retry_never().reset_ms(60_000).index(1),
    );
    assert_acquire(
        &server,
        "a 10/s,5/m,100/h COST 5",
        denied().limit(5).remaining(4).retry_ms(60_000).reset_ms(60_000).index(1),
    );
    assert_acquire(&server, "c 3/s,3/m COST 3", granted(3).limit(3).remaining(0).reset_ms(1000));
    assert_acquire(
        &server,
        "c 3/s,3/m",
        denied().limit(3).remaining(0).retry_ms(60_000).reset_ms(60_000).index(1),
    );
    assert_acquire(&server, "c 3/m,3/s", denied().limit(3).remaining(0).retry_ms(60_000).reset_ms(60_000));
    // Equal waits: the first.
    assert_acquire(
        &server,
        "d 2/m:name=x,2/m:name=y COST 2",
        granted(2).limit(2).remaining(0).reset_ms(60_000),
    );
    assert_acquire(
        &server,
        "d 2/m:name=x,2/m:name=y",
        denied().limit(2).remaining(0).retry_ms(60_000).reset_ms(60_000),
    );
    // Two that can never grant: the first.
    assert_acquire(&server, "e 5/s,4/m COST 9", denied().limit(5).remaining(5).retry_never().reset_ms(0));
    // Eight limits, the last binds.
    let eight = "10/s,10/m,10/h,10/d,20/2s,20/3s,20/4s,1/5s";
    assert_acquire(&server, &format!("f {eight}"), granted(1).limit(1).remaining(0).reset_ms(5000).index(7));
}

#[test]
fn per_call_charges_one() {
    let server = Server::at_t0();
    assert_acquire(
        &server,
        "k 90000/m,2/m:per=call COST 40000",
        granted(40_000).limit(2).remaining(1).reset_ms(60_000).index(1),
    );
    assert_acquire(
        &server,
        "k 90000/m,2/m:per=call COST 40000",
        granted(40_000).limit(2).remaining(0).reset_ms(60_000).index(1),
    );
    assert_acquire(
        &server,
        "k 90000/m,2/m:per=call",
        denied().limit(2).remaining(0).retry_ms(60_000).reset_ms(60_000).index(1),
    );
}

#[test]
fn which_limits_hold() {
    let server = Server::at_t0();
    let none = "ERR no limits for this key";
    assert_error_prefix(&server.line("RL.ACQUIRE k"), none);
    assert_error_prefix(&server.line("RL.ACQUIRE k *"), none);
    assert_error_prefix(&server.line("RL.ACQUIRE k * COST 2 CRITICAL"), none);
    assert_acquire(&server, "k 10/s", granted(1).limit(10).remaining(9).reset_ms(1000));
    // What the key used last is no source for a command that takes.
    assert_error_prefix(&server.line("RL.ACQUIRE k"), none);
    if server.at_least(7, 0) {
        server.config_set("floodgate.default-limit", "7/m");
        assert_acquire(&server, "k", granted(1).limit(7).remaining(6).reset_ms(60_000));
        assert_acquire(&server, "k *", granted(1).limit(7).remaining(5).reset_ms(60_000));
        assert_acquire(&server, "k COST 2", granted(2).limit(7).remaining(3).reset_ms(60_000));
        assert_acquire(&server, "k 10/s", granted(1).limit(10).remaining(8).reset_ms(1000));
        // The call's own limits do not count, but must be well-formed.
        server.config_set("floodgate.caller-limits", "no");
        assert_acquire(&server, "k 10/s", granted(1).limit(7).remaining(2).reset_ms(60_000));
        assert_error(&server.line("RL.ACQUIRE k 10/"), "ERR invalid limit '10/': missing period");
        server.config_set("floodgate.default-limit", "");
        assert_error_prefix(&server.line("RL.ACQUIRE k 10/s"), none);
    }
    // The operator's word wins over everything.
    server.ok("RL.PIN k 3/h FOR 10s");
    assert_acquire(&server, "k 10/s", granted(1).limit(3).remaining(2).reset_ms(3_600_000));
    assert_acquire(&server, "k", granted(1).limit(3).remaining(1).reset_ms(3_600_000));
    assert_acquire(&server, "k *", granted(1).limit(3).remaining(0).reset_ms(3_600_000));
    assert_error(&server.line("RL.ACQUIRE k 10/"), "ERR invalid limit '10/': missing period");
    server.clock_advance(9_999_999);
    // When the pin has ended nothing says what the limits are: waiting does not help.
    let retry = if server.at_least(7, 0) { -1 } else { 1 };
    assert_acquire(&server, "k 10/s", denied().limit(3).remaining(0).retry_ms(retry).reset_ms(3_590_001));
    server.clock_advance(1);
    if server.at_least(7, 0) {
        server.config_set("floodgate.caller-limits", "yes");
    }
    assert_acquire(&server, "k 10/s", granted(1).limit(10).remaining(9).reset_ms(1000));
}

#[test]
fn changed_limits_keep_what_is_used() {
    let server = Server::at_t0();
    assert_acquire(&server, "k 10/m COST 8", granted(8).limit(10).remaining(2).reset_ms(60_000));
    assert_acquire(&server, "k 20/m", granted(1).limit(20).remaining(11).reset_ms(60_000));
    assert_acquire(&server, "k 5/m", denied().limit(5).remaining(0).retry_ms(60_000).reset_ms(60_000));
    assert_acquire(&server, "k 10/m", granted(1).limit(10).remaining(0).reset_ms(60_000));
    // A name is an identity of its own, also when the period changes.
    assert_acquire(&server, "n 10/m:name=api COST 8", granted(8).limit(10).remaining(2).reset_ms(60_000));
    assert_acquire(&server, "n 9/h:name=api", granted(1).limit(9).remaining(0).reset_ms(3_600_000));
    assert_acquire(&server, "n 9/h:name=Api", granted(1).limit(9).remaining(8).reset_ms(3_600_000));
    // Another algorithm starts fresh.
    assert_acquire(&server, "n bucket:9/h:name=api", granted(1).limit(9).remaining(8).reset_ms(400_000));
}

#[test]
fn the_largest_numbers() {
    let server = Server::at_t0();
    let most = 1_000_000_000_000_i64;
    for limits in ["1000000000000/366d", "bucket:1000000000000/366d", "fixed:1000000000000/366d"] {
        server.line("FLUSHALL");
        assert_eq!(
            acquire(&server, &format!("k {limits} COST {most}")),
            granted(most).limit(most).remaining(0),
            "{limits}"
        );
        let denied = acquire(&server, &format!("k {limits} COST {most}"));
        assert!(denied.granted == 0 && denied.retry_after_ms > 0, "{limits}: {denied:?}");
        // The first and the last moment that the clock can tell.
        for clock in [0, 1 << 51] {
            server.clock_set(clock);
            let reply = acquire(&server, &format!("edge{clock} {limits}"));
            assert_eq!(
                (reply.granted, reply.limit, reply.remaining),
                (1, most, most - 1),
                "{limits} at {clock}"
            );
        }
        server.clock_set(T0);
    }
}

#[test]
fn a_key_lives_until_it_is_full_again() {
    let server = Server::start();
    let mut wire = server.wire();
    let left = |wire: &mut Wire, key: &str| call!(wire, "PTTL", key).int();
    let taken = call!(wire, "RL.ACQUIRE", "k", "10/m").rate_limit();
    assert_eq!(taken, granted(1).limit(10).remaining(9).reset_ms(60_000));
    assert!((59_000..=60_001).contains(&left(&mut wire, "k")), "{}", left(&mut wire, "k"));
    call!(wire, "RL.ACQUIRE", "k", "10/m,5/h");
    assert!((3_599_000..=3_600_001).contains(&left(&mut wire, "k")));
    call!(wire, "RL.ACQUIRE", "b", "bucket:100/s:burst=1000", "COST", 500);
    assert!((4_000..=5_001).contains(&left(&mut wire, "b")));
    // One that is full again is gone.
    call!(wire, "RL.ACQUIRE", "short", "10/50ms");
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(wire.line("EXISTS short"), Reply::Int(0));
    assert_eq!(call!(wire, "RL.ACQUIRE", "short", "10/50ms").rate_limit().remaining, 9);
    // Under the debug clock nothing expires by itself.
    server.clock_set(T0);
    call!(wire, "RL.ACQUIRE", "k", "10/m");
    assert_eq!(left(&mut wire, "k"), -1);
}

#[test]
fn a_denial_tells_when_it_will_be_granted() {
    let server = Server::at_t0();
    let mut dice = Dice::new(1);
    let mut denials = 0;
    for limits in [
        "7/s",
        "500/10s",
        "bucket:7/3s:burst=20",
        "fixed:30/7s",
        "fixed:30/7s:start=first",
        "9/s,300/m,bucket:100/m:burst=30,fixed:200/5m:keep=12.5%",
    ] {
        let mut now = T0;
        for _ in 0..150 {
            now += dice.below(1_500_000_i64);
            server.clock_set(now);
            let cost = 1 + dice.below(12_i64);
            let reply = acquire(&server, &format!("k {limits} COST {cost}"));
            if reply.granted > 0 || reply.retry_after_ms < 0 {
                continue;
            }
            denials += 1;
            // The same request on a copy of the key: not 2 ms earlier, but then.
            for (at, granted) in [(reply.retry_after_ms - 2, 0), (reply.retry_after_ms, cost)] {
                if at >= 0 {
                    server.line("COPY k copy REPLACE");
                    server.clock_set(now + at * 1000);
                    let then = acquire(&server, &format!("copy {limits} COST {cost}"));
                    assert_eq!(
                        then.granted, granted,
                        "{limits} COST {cost} {at} ms after {reply:?}: {then:?}"
                    );
                }
            }
            // And full again when it says so, for this limit at least.
            server.clock_set(now + reply.reset_after_ms * 1000);
            let rows = server.line(&format!("RL.QUOTA k {limits}"));
            let index = usize::try_from(reply.index).unwrap();
            assert_eq!(rows.used()[index], 0, "{limits}: {reply:?} {rows:?}");
        }
        server.line("DEL k copy");
    }
    assert!(denials > 150, "{denials}");
}

#[test]
fn limits_that_count_alike_own_a_usage_each() {
    let server = Server::at_t0();
    let used = |server: &Server, limits: &str| server.line(&format!("RL.QUOTA k {limits}")).used();
    assert_acquire(&server, "k 10/m COST 2", granted(2).limit(10).remaining(8).reset_ms(60_000));
    // A tighter limit is tried in the shadow of the one that holds.
    assert_acquire(&server, "k 10/m,3/m:shadow COST 2", granted(2).limit(10).remaining(6).reset_ms(60_000));
    assert_acquire(&server, "k 10/m,3/m:shadow COST 2", granted(2).limit(10).remaining(4).reset_ms(60_000));
    assert_eq!(used(&server, "10/m,3/m:shadow"), [6, 2]);
    assert_eq!(used(&server, "3/m:shadow,10/m"), [2, 6]);
    // Left out for a while, its usage is kept aside, also through a file.
    assert_acquire(&server, "k 10/m", granted(1).limit(10).remaining(3).reset_ms(60_000));
    server.ok("DEBUG RELOAD");
    assert_eq!(used(&server, "10/m,3/m:shadow"), [7, 2]);
    // It comes into force and keeps what it counted.
    assert_acquire(
        &server,
        "k 10/m,3/m COST 2",
        denied().limit(3).remaining(1).retry_ms(60_000).reset_ms(60_000).index(1),
    );
    assert_acquire(&server, "k 10/m,3/m", granted(1).limit(3).remaining(0).reset_ms(60_000).index(1));
    // Two that are the same in every way count the same.
    assert_acquire(&server, "twice 5/s,5/s COST 2", granted(2).limit(5).remaining(3).reset_ms(1000));
}

/// Windows from where bills begin, and a count of 0, on a real server and its replica.
#[test]
fn windows_from_another_start_and_a_count_of_0() {
    let server = Server::start();
    // 2026-11-28 10:00 UTC, a Saturday.
    server.ok("RL.DEBUG CLOCK SET 1795860000000000");
    const HOUR: i64 = 3_600_000;
    for (limit, reset_ms) in [
        ("fixed:5/day:from=09:00", 23 * HOUR),
        ("fixed:5/day:from=09:00:tz=Europe/Paris", 22 * HOUR),
        ("fixed:5/week:from=sun", 14 * HOUR),
        ("fixed:5/month:from=17", (18 * 24 + 14) * HOUR),
        ("fixed:5/month:from=31", (24 + 14) * HOUR),
        ("fixed:5/year", (33 * 24 + 14) * HOUR),
        ("fixed:5/year:from=03-01", (92 * 24 + 14) * HOUR),
    ] {
        assert_eq!(
            server.line(&format!("RL.ACQUIRE {limit} {limit} COST 5")).rate_limit(),
            granted(5).limit(5).remaining(0).reset_ms(reset_ms)
        );
        assert_acquire(
            &server,
            &format!("{limit} {limit}"),
            denied().limit(5).remaining(0).retry_ms(reset_ms).reset_ms(reset_ms),
        );
    }
    server.ok("RL.POLICY SET closed 0/s PREFIX old:");
    assert_acquire(&server, "old:1 * CRITICAL", denied().limit(0).remaining(0).retry_never().reset_ms(0));
    assert_eq!(
        server.line("RL.ACQUIRE old:1 10/s").rate_limit(),
        granted(1).limit(10).remaining(9).reset_ms(1000),
        "the call's own limits hold"
    );
    server.ok("RL.PIN user:1 0/s");
    assert_acquire(&server, "user:1 10/s", denied().limit(0).remaining(0).retry_never().reset_ms(0));
    assert_eq!(server.line("EXISTS old:2"), Reply::Int(0));
}
