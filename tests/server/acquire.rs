//! RL.ACQUIRE: every field of the reply, every option, and which limits hold.

use crate::harness::{Reply, Server, Wire, assert_error, assert_error_prefix, call};
use crate::limit_kit::{T0, at_t0, six};
use crate::support::Dice;

#[test]
fn the_six_integers_of_a_sliding_limit() {
    let server = at_t0();
    assert_eq!(six(&server, "k 10/s COST 3"), [3, 10, 7, 0, 1000, 0]);
    assert_eq!(six(&server, "k 10/s COST 8"), [0, 10, 7, 1000, 1000, 0]);
    server.clock_advance(400_000);
    assert_eq!(six(&server, "k 10/s cost 5"), [5, 10, 2, 0, 1000, 0]);
    assert_eq!(six(&server, "k 10/s COST 3"), [0, 10, 2, 600, 1000, 0]);
    assert_eq!(six(&server, "k 10/s COST 6"), [0, 10, 2, 1000, 1000, 0]);
    assert_eq!(six(&server, "k 10/s COST 10"), [0, 10, 2, 1000, 1000, 0]);
    assert_eq!(six(&server, "k 10/s COST 11"), [0, 10, 2, -1, 1000, 0]);
    assert_eq!(six(&server, "k 10/s"), [1, 10, 1, 0, 1000, 0]);
    // One microsecond before its time it is still denied, and the wait is rounded up.
    server.clock_advance(599_999);
    assert_eq!(six(&server, "k 10/s COST 4"), [0, 10, 1, 1, 401, 0]);
    server.clock_advance(1);
    assert_eq!(six(&server, "k 10/s COST 4"), [4, 10, 0, 0, 1000, 0]);
}

#[test]
fn the_six_integers_of_a_bucket_and_of_windows() {
    let server = at_t0();
    assert_eq!(six(&server, "b bucket:10/s:burst=50 COST 50"), [50, 50, 0, 0, 5000, 0]);
    assert_eq!(six(&server, "b bucket:10/s:burst=50"), [0, 50, 0, 100, 5000, 0]);
    server.clock_advance(250_000);
    assert_eq!(six(&server, "b bucket:10/s:burst=50 COST 3"), [0, 50, 2, 50, 4750, 0]);
    assert_eq!(six(&server, "b bucket:10/s:burst=50 COST 2"), [2, 50, 0, 0, 4950, 0]);
    assert_eq!(six(&server, "b bucket:10/s:burst=50 COST 51"), [0, 50, 0, -1, 4950, 0]);

    server.clock_set(T0 + 600_000_000);
    assert_eq!(six(&server, "f fixed:5/h COST 4"), [4, 5, 1, 0, 3_000_000, 0]);
    assert_eq!(six(&server, "f fixed:5/h COST 2"), [0, 5, 1, 3_000_000, 3_000_000, 0]);
    server.clock_set(T0 + 3_599_999_999);
    assert_eq!(six(&server, "f fixed:5/h COST 2"), [0, 5, 1, 1, 1, 0]);
    server.clock_set(T0 + 3_600_000_000);
    assert_eq!(six(&server, "f fixed:5/h COST 2"), [2, 5, 3, 0, 3_600_000, 0]);
    // start=first: the window opens at the first grant.
    server.clock_set(T0 + 600_000_000);
    assert_eq!(six(&server, "first fixed:5/h:start=first"), [1, 5, 4, 0, 3_600_000, 0]);
    // Midnight in Paris is 23:00 UTC in January: 15 hours from 08:00.
    server.clock_set(T0);
    assert_eq!(six(&server, "paris fixed:5/day:tz=Europe/Paris"), [1, 5, 4, 0, 15 * 3_600_000, 0]);
    assert_eq!(six(&server, "utc fixed:5/day"), [1, 5, 4, 0, 16 * 3_600_000, 0]);
    // 2027-01-15 is a Friday; the week ends on Monday, the month on the 1st.
    assert_eq!(six(&server, "week fixed:5/w"), [1, 5, 4, 0, (16 + 48) * 3_600_000, 0]);
    assert_eq!(six(&server, "month fixed:5/month"), [1, 5, 4, 0, (16 + 16 * 24) * 3_600_000, 0]);
}

#[test]
fn both_protocols_give_an_array_of_integers() {
    let server = at_t0();
    let (mut two, mut three) = (server.wire(), server.wire3());
    assert_eq!(two.line("RL.ACQUIRE a 10/s"), Reply::ints(&[1, 10, 9, 0, 1000, 0]));
    assert_eq!(three.line("RL.ACQUIRE b 10/s"), Reply::ints(&[1, 10, 9, 0, 1000, 0]));
    assert_eq!(three.line("rl.acquire b 10/S COST 10"), Reply::ints(&[0, 10, 9, 1000, 1000, 0]));
}

#[test]
fn partial_takes_what_there_is() {
    let server = at_t0();
    assert_eq!(six(&server, "k 10/s,6/m COST 8 PARTIAL"), [6, 6, 0, 0, 60_000, 1]);
    // The wait is that of one unit.
    assert_eq!(six(&server, "k 10/s,6/m COST 8 PARTIAL"), [0, 6, 0, 60_000, 60_000, 1]);
    server.clock_advance(60_000_000);
    assert_eq!(six(&server, "k 10/s,6/m PARTIAL COST 2"), [2, 6, 4, 0, 60_000, 1]);
    // Even a cost above capacity gives what there is, and waits for one unit.
    assert_eq!(six(&server, "big 5/s COST 1000000000000 PARTIAL"), [5, 5, 0, 0, 1000, 0]);
    assert_eq!(six(&server, "big 5/s COST 1000000000000 PARTIAL"), [0, 5, 0, 1000, 1000, 0]);
    // A limit per call does not bound the units, but denies the call.
    assert_eq!(six(&server, "calls 100/m,1/m:per=call COST 30 PARTIAL"), [30, 1, 0, 0, 60_000, 1]);
    assert_eq!(six(&server, "calls 100/m,1/m:per=call COST 30 PARTIAL"), [0, 1, 0, 60_000, 60_000, 1]);
}

#[test]
fn keep_is_for_critical_requests_only() {
    let server = at_t0();
    assert_eq!(six(&server, "k 10/m:keep=30% COST 7"), [7, 10, 0, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m:keep=30%"), [0, 10, 0, 60_000, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m:keep=30% CRITICAL COST 2"), [2, 10, 1, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m:keep=30% CRITICAL"), [1, 10, 0, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m:keep=30% CRITICAL"), [0, 10, 0, 60_000, 60_000, 0]);
    // More than the usable part can never be had, unless it is critical.
    assert_eq!(six(&server, "new 10/m:keep=30% COST 8"), [0, 10, 7, -1, 0, 0]);
    assert_eq!(six(&server, "new 10/m:keep=30% COST 8 CRITICAL"), [8, 10, 2, 0, 60_000, 0]);
    assert_eq!(six(&server, "p 10/m:keep=30% COST 10 PARTIAL"), [7, 10, 0, 0, 60_000, 0]);
    // What is kept is whole units, rounded down: two of ten, none of one.
    assert_eq!(six(&server, "q 10/m:keep=25% COST 8"), [8, 10, 0, 0, 60_000, 0]);
    assert_eq!(six(&server, "r 1/s:keep=10%"), [1, 1, 0, 0, 1000, 0]);
    assert_eq!(six(&server, "s 5/s:keep=1% COST 5"), [5, 5, 0, 0, 1000, 0]);
}

#[test]
fn shadow_limits_count_and_never_deny() {
    let server = at_t0();
    assert_eq!(six(&server, "k 2/m:shadow:name=try,10/m COST 2"), [2, 10, 8, 0, 60_000, 1]);
    // The shadow would deny: it takes nothing, the others take theirs.
    assert_eq!(six(&server, "k 2/m:shadow:name=try,10/m COST 3"), [3, 10, 5, 0, 60_000, 1]);
    assert_eq!(server.info_field("floodgate", "floodgate_shadow_denied"), "1");
    let rows = server.line("RL.QUOTA k");
    assert_eq!(rows[0].field("used"), Reply::Int(2));
    assert_eq!(rows[1].field("used"), Reply::Int(5));
    // Denied by the enforcing limit: the shadow is not charged.
    assert_eq!(six(&server, "k 3/h:shadow,10/m COST 6"), [0, 10, 5, 60_000, 60_000, 1]);
    assert_eq!(server.line("RL.QUOTA k 3/h:shadow,10/m")[0].field("used"), Reply::Int(0));
    // Shadow limits alone: the reply of unlimited.
    for _ in 0..3 {
        assert_eq!(six(&server, "only 1/m:shadow"), [1, -1, -1, 0, 0, 0]);
    }
    assert_eq!(server.info_field("floodgate", "floodgate_shadow_denied"), "4");
}

#[test]
fn unlimited_always_grants() {
    let server = at_t0();
    assert_eq!(six(&server, "k unlimited COST 1000000000000"), [1_000_000_000_000, -1, -1, 0, 0, 0]);
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    // Beside another limit it has infinite remaining, so the other binds.
    assert_eq!(six(&server, "k UNLIMITED,10/s COST 4"), [4, 10, 6, 0, 1000, 1]);
    assert_eq!(six(&server, "k unlimited,10/s COST 7"), [0, 10, 6, 1000, 1000, 1]);
}

#[test]
fn the_binding_limit() {
    let server = at_t0();
    // Granted: the least remaining; of equals the first.
    assert_eq!(six(&server, "a 10/s,5/m,100/h"), [1, 5, 4, 0, 60_000, 1]);
    assert_eq!(six(&server, "b 5/s,5/m"), [1, 5, 4, 0, 1000, 0]);
    assert_eq!(six(&server, "b 5/m,5/s"), [1, 5, 3, 0, 60_000, 0]);
    // Denied: the longest wait, and never is the longest.
    assert_eq!(six(&server, "a 10/s,5/m,100/h COST 6"), [0, 5, 4, -1, 60_000, 1]);
    assert_eq!(six(&server, "a 10/s,5/m,100/h COST 5"), [0, 5, 4, 60_000, 60_000, 1]);
    assert_eq!(six(&server, "c 3/s,3/m COST 3"), [3, 3, 0, 0, 1000, 0]);
    assert_eq!(six(&server, "c 3/s,3/m"), [0, 3, 0, 60_000, 60_000, 1]);
    assert_eq!(six(&server, "c 3/m,3/s"), [0, 3, 0, 60_000, 60_000, 0]);
    // Equal waits: the first.
    assert_eq!(six(&server, "d 2/m:name=x,2/m:name=y COST 2"), [2, 2, 0, 0, 60_000, 0]);
    assert_eq!(six(&server, "d 2/m:name=x,2/m:name=y"), [0, 2, 0, 60_000, 60_000, 0]);
    // Two that can never grant: the first.
    assert_eq!(six(&server, "e 5/s,4/m COST 9"), [0, 5, 5, -1, 0, 0]);
    // Eight limits, the last binds.
    let eight = "10/s,10/m,10/h,10/d,20/2s,20/3s,20/4s,1/5s";
    assert_eq!(six(&server, &format!("f {eight}")), [1, 1, 0, 0, 5000, 7]);
}

#[test]
fn per_call_charges_one() {
    let server = at_t0();
    assert_eq!(six(&server, "k 90000/m,2/m:per=call COST 40000"), [40_000, 2, 1, 0, 60_000, 1]);
    assert_eq!(six(&server, "k 90000/m,2/m:per=call COST 40000"), [40_000, 2, 0, 0, 60_000, 1]);
    assert_eq!(six(&server, "k 90000/m,2/m:per=call"), [0, 2, 0, 60_000, 60_000, 1]);
}

#[test]
fn which_limits_hold() {
    let server = at_t0();
    let none = "ERR no limits for this key";
    assert_error_prefix(&server.line("RL.ACQUIRE k"), none);
    assert_error_prefix(&server.line("RL.ACQUIRE k *"), none);
    assert_error_prefix(&server.line("RL.ACQUIRE k * COST 2 CRITICAL"), none);
    assert_eq!(six(&server, "k 10/s"), [1, 10, 9, 0, 1000, 0]);
    // What the key used last is no source for a command that takes.
    assert_error_prefix(&server.line("RL.ACQUIRE k"), none);
    if server.at_least(7, 0) {
        server.config_set("floodgate.default-limit", "7/m");
        assert_eq!(six(&server, "k"), [1, 7, 6, 0, 60_000, 0]);
        assert_eq!(six(&server, "k *"), [1, 7, 5, 0, 60_000, 0]);
        assert_eq!(six(&server, "k COST 2"), [2, 7, 3, 0, 60_000, 0]);
        assert_eq!(six(&server, "k 10/s"), [1, 10, 8, 0, 1000, 0]);
        // The call's own limits do not count, but must be well-formed.
        server.config_set("floodgate.caller-limits", "no");
        assert_eq!(six(&server, "k 10/s"), [1, 7, 2, 0, 60_000, 0]);
        assert_error(&server.line("RL.ACQUIRE k 10/"), "ERR invalid limit '10/': missing period");
        server.config_set("floodgate.default-limit", "");
        assert_error_prefix(&server.line("RL.ACQUIRE k 10/s"), none);
    }
    // The operator's word wins over everything.
    server.ok("RL.PIN k 3/h FOR 10s");
    assert_eq!(six(&server, "k 10/s"), [1, 3, 2, 0, 3_600_000, 0]);
    assert_eq!(six(&server, "k"), [1, 3, 1, 0, 3_600_000, 0]);
    assert_eq!(six(&server, "k *"), [1, 3, 0, 0, 3_600_000, 0]);
    assert_error(&server.line("RL.ACQUIRE k 10/"), "ERR invalid limit '10/': missing period");
    server.clock_advance(9_999_999);
    // When the pin has ended nothing says what the limits are: waiting does not help.
    let retry = if server.at_least(7, 0) { -1 } else { 1 };
    assert_eq!(six(&server, "k 10/s"), [0, 3, 0, retry, 3_590_001, 0]);
    server.clock_advance(1);
    if server.at_least(7, 0) {
        server.config_set("floodgate.caller-limits", "yes");
    }
    assert_eq!(six(&server, "k 10/s"), [1, 10, 9, 0, 1000, 0]);
}

#[test]
fn changed_limits_keep_what_is_used() {
    let server = at_t0();
    assert_eq!(six(&server, "k 10/m COST 8"), [8, 10, 2, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 20/m"), [1, 20, 11, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 5/m"), [0, 5, 0, 60_000, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m"), [1, 10, 0, 0, 60_000, 0]);
    // A name is an identity of its own, also when the period changes.
    assert_eq!(six(&server, "n 10/m:name=api COST 8"), [8, 10, 2, 0, 60_000, 0]);
    assert_eq!(six(&server, "n 9/h:name=api"), [1, 9, 0, 0, 3_600_000, 0]);
    assert_eq!(six(&server, "n 9/h:name=Api"), [1, 9, 8, 0, 3_600_000, 0]);
    // Another algorithm starts fresh.
    assert_eq!(six(&server, "n bucket:9/h:name=api"), [1, 9, 8, 0, 400_000, 0]);
}

#[test]
fn the_largest_numbers() {
    let server = at_t0();
    let most = 1_000_000_000_000_i64;
    for limits in ["1000000000000/366d", "bucket:1000000000000/366d", "fixed:1000000000000/366d"] {
        server.line("FLUSHALL");
        assert_eq!(six(&server, &format!("k {limits} COST {most}"))[..4], [most, most, 0, 0], "{limits}");
        let denied = six(&server, &format!("k {limits} COST {most}"));
        assert!(denied[0] == 0 && denied[3] > 0, "{limits}: {denied:?}");
        // The first and the last moment that the clock can tell.
        for clock in [0, 1 << 51] {
            server.clock_set(clock);
            let reply = six(&server, &format!("edge{clock} {limits}"));
            assert_eq!((reply[0], reply[1], reply[2]), (1, most, most - 1), "{limits} at {clock}");
        }
        server.clock_set(T0);
    }
}

#[test]
fn a_key_lives_until_it_is_full_again() {
    let server = Server::start();
    let mut wire = server.wire();
    let left = |wire: &mut Wire, key: &str| call!(wire, "PTTL", key).int();
    let taken = call!(wire, "RL.ACQUIRE", "k", "10/m").to_ints();
    assert_eq!(taken, [1, 10, 9, 0, 60_000, 0]);
    assert!((59_000..=60_001).contains(&left(&mut wire, "k")), "{}", left(&mut wire, "k"));
    call!(wire, "RL.ACQUIRE", "k", "10/m,5/h");
    assert!((3_599_000..=3_600_001).contains(&left(&mut wire, "k")));
    call!(wire, "RL.ACQUIRE", "b", "bucket:100/s:burst=1000", "COST", 500);
    assert!((4_000..=5_001).contains(&left(&mut wire, "b")));
    // One that is full again is gone.
    call!(wire, "RL.ACQUIRE", "short", "10/50ms");
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(wire.line("EXISTS short"), Reply::Int(0));
    assert_eq!(call!(wire, "RL.ACQUIRE", "short", "10/50ms")[2], Reply::Int(9));
    // Under the debug clock nothing expires by itself.
    server.clock_set(T0);
    call!(wire, "RL.ACQUIRE", "k", "10/m");
    assert_eq!(left(&mut wire, "k"), -1);
}

#[test]
fn a_denial_tells_when_it_will_be_granted() {
    let server = at_t0();
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
            let six = six(&server, &format!("k {limits} COST {cost}"));
            if six[0] > 0 || six[3] < 0 {
                continue;
            }
            denials += 1;
            // The same request on a copy of the key: not 2 ms earlier, but then.
            for (at, granted) in [(six[3] - 2, 0), (six[3], cost)] {
                if at >= 0 {
                    server.line("COPY k copy REPLACE");
                    server.clock_set(now + at * 1000);
                    let then = server.line(&format!("RL.ACQUIRE copy {limits} COST {cost}")).to_ints();
                    assert_eq!(then[0], granted, "{limits} COST {cost} {at} ms after {six:?}: {then:?}");
                }
            }
            // And full again when it says so, for this limit at least.
            server.clock_set(now + six[4] * 1000);
            let rows = server.line(&format!("RL.QUOTA k {limits}"));
            let index = usize::try_from(six[5]).unwrap();
            assert_eq!(rows[index].field("used").int(), 0, "{limits}: {six:?} {rows:?}");
        }
        server.line("DEL k copy");
    }
    assert!(denials > 150, "{denials}");
}

#[test]
fn limits_that_count_alike_own_a_usage_each() {
    let server = at_t0();
    let used = |server: &Server, limits: &str| -> Vec<i64> {
        server
            .line(&format!("RL.QUOTA k {limits}"))
            .items()
            .iter()
            .map(|row| row.field("used").int())
            .collect()
    };
    assert_eq!(six(&server, "k 10/m COST 2"), [2, 10, 8, 0, 60_000, 0]);
    // A tighter limit is tried in the shadow of the one that holds.
    assert_eq!(six(&server, "k 10/m,3/m:shadow COST 2"), [2, 10, 6, 0, 60_000, 0]);
    assert_eq!(six(&server, "k 10/m,3/m:shadow COST 2"), [2, 10, 4, 0, 60_000, 0]);
    assert_eq!(used(&server, "10/m,3/m:shadow"), [6, 2]);
    assert_eq!(used(&server, "3/m:shadow,10/m"), [2, 6]);
    // Left out for a while, its usage is kept aside, also through a file.
    assert_eq!(six(&server, "k 10/m"), [1, 10, 3, 0, 60_000, 0]);
    server.ok("DEBUG RELOAD");
    assert_eq!(used(&server, "10/m,3/m:shadow"), [7, 2]);
    // It comes into force and keeps what it counted.
    assert_eq!(six(&server, "k 10/m,3/m COST 2"), [0, 3, 1, 60_000, 60_000, 1]);
    assert_eq!(six(&server, "k 10/m,3/m"), [1, 3, 0, 0, 60_000, 1]);
    // Two that are the same in every way count the same.
    assert_eq!(six(&server, "twice 5/s,5/s COST 2"), [2, 5, 3, 0, 1000, 0]);
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
            server.line(&format!("RL.ACQUIRE {limit} {limit} COST 5")).to_ints(),
            [5, 5, 0, 0, reset_ms, 0]
        );
        let denied = server.line(&format!("RL.ACQUIRE {limit} {limit}")).to_ints();
        assert_eq!(denied, [0, 5, 0, reset_ms, reset_ms, 0], "{limit}");
    }
    server.ok("RL.POLICY SET closed 0/s PREFIX old:");
    assert_eq!(server.line("RL.ACQUIRE old:1 * CRITICAL").to_ints(), [0, 0, 0, -1, 0, 0]);
    assert_eq!(
        server.line("RL.ACQUIRE old:1 10/s").to_ints(),
        [1, 10, 9, 0, 1000, 0],
        "the call's own limits hold"
    );
    server.ok("RL.PIN user:1 0/s");
    assert_eq!(server.line("RL.ACQUIRE user:1 10/s").to_ints(), [0, 0, 0, -1, 0, 0]);
    assert_eq!(server.line("EXISTS old:2"), Reply::Int(0));
}
