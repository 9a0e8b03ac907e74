//! Two versions of a client during a deploy: their limits differ, and neither
//! disturbs what the other has used.

use crate::harness::Server;
use crate::models::grants::GrantLog;
use crate::support::{Dice, granted};

const T0: u64 = 1_800_000_000_000_000;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

#[test]
fn they_never_disturb_each_other() {
    let server = Server::start();
    let mut wire = server.wire();
    let mut dice = Dice::new(7);
    // Two limits of 64 and less are exact to the microsecond, so the model is
    // the whole truth; the contract's own numbers follow below.
    let mut grants = GrantLog::default();
    let versions = [("10/s,60/h", 10, 60, false), ("64/h,20/s", 20, 64, true)];
    let mut now = T0;
    let (mut granted, mut denied) = (0, 0);
    while now < T0 + 6 * HOUR {
        now += dice.below(9 * SECOND) + if dice.once_in(9) { 60 * SECOND } else { 0 };
        for _ in 0..=dice.below(3) {
            let (limits, per_second, per_hour, swapped) = versions[dice.below(2_usize)];
            let cost = 1 + dice.below(3_u64);
            let (in_second, in_hour) = (grants.younger(now, SECOND), grants.younger(now, HOUR));
            let fits = in_second + cost <= per_second && in_hour + cost <= per_hour;
            let replies = wire
                .lines(&[format!("RL.DEBUG CLOCK SET {now}"), format!("RL.ACQUIRE k {limits} COST {cost}")]);
            let reply = replies[1].rate_limit();
            assert_eq!(reply.is_granted(), fits, "{limits} COST {cost} at {}: {reply:?}", now - T0);
            if fits {
                grants.take(now, cost);
                granted += 1;
            } else {
                denied += 1;
            }
            if dice.below(10) == 0 {
                let used = wire.line(&format!("RL.QUOTA k {limits}")).used();
                let used = |at: usize| used[at].cast_unsigned();
                let (s, h) = if swapped { (1, 0) } else { (0, 1) };
                assert_eq!((used(s), used(h)), (grants.younger(now, SECOND), grants.younger(now, HOUR)));
            }
        }
    }
    assert!(granted > 100 && denied > 100, "{granted} granted, {denied} denied");
}

#[test]
fn for_an_hour_of_traffic() {
    let server = Server::start();
    let mut wire = server.wire();
    let mut dice = Dice::new(11);
    let mut grants = GrantLog::default();
    let versions = [("10/s,1000/h", 10, 1000), ("1000/h,20/s", 20, 1000)];
    let mut now = T0;
    let mut turn = 0;
    let (mut granted_calls, mut denied_calls) = (0, 0);
    while now < T0 + HOUR {
        // Bursts far above the limits, and pauses.
        let pause = if dice.below(20) == 0 { 3 * SECOND } else { 400_000 };
        now += dice.below(pause);
        let (limits, per_second, per_hour) = versions[turn % 2];
        turn += 1;
        let cost = 1 + dice.below(3_u64);
        let replies =
            wire.lines(&[format!("RL.DEBUG CLOCK SET {now}"), format!("RL.ACQUIRE k {limits} COST {cost}")]);
        let (in_second, in_hour) = (grants.younger(now, SECOND), grants.younger(now, HOUR));
        let fits = in_second + cost <= per_second && in_hour + cost <= per_hour;
        // Within the first hour nothing of the hour's usage runs out, so its
        // slots count exactly what a log does.
        let units = if fits { cost.cast_signed() } else { 0 };
        assert_eq!(replies[1].rate_limit().granted, units, "{limits}");
        if fits {
            grants.take(now, cost);
            granted_calls += 1;
        } else {
            denied_calls += 1;
        }
    }
    assert!(granted_calls > 300 && denied_calls > 300, "{granted_calls} and {denied_calls}");
    // The usage of a version that is gone stays until it has run out.
    now += 2 * HOUR;
    wire.line(&format!("RL.DEBUG CLOCK SET {now}"));
    assert_eq!(wire.line("RL.ACQUIRE k 10/s,1000/h").rate_limit(), granted(1).limit(10).remaining(9));
}

#[test]
fn a_limit_not_listed_keeps_its_usage() {
    let server = Server::start();
    server.clock_set(T0.cast_signed());
    let left = |limits: &str| server.line(&format!("RL.ACQUIRE k {limits}")).rate_limit().remaining;
    for (step, limits) in ["60/h", "fixed:60/h", "bucket:60/h", "60/d", "60/h:per=call", "60/h:name=x"]
        .into_iter()
        .cycle()
        .take(60)
        .enumerate()
    {
        assert_eq!(left(limits), 59 - i64::try_from(step / 6).unwrap(), "{step}: {limits}");
    }
}

/// A bucket that an operator closes with a count of 0 refills meanwhile, as if it had stayed open,
/// and whatever is charged or taken under the 0.
#[test]
fn a_closed_bucket_refills_meanwhile() {
    let server = Server::start();
    for (key, between) in [
        ("c", "RL.POLICY SET p bucket:0/s,1000/d PREFIX c; RL.CHARGE c COST 1"),
        ("k", "RL.ACQUIRE k 10/s,bucket:0/s:shadow"),
        ("named", "RL.ACQUIRE named 10/s,bucket:0/s:name=a:shadow"),
    ] {
        server.clock_set(T0.cast_signed());
        let limit = if key == "named" { "bucket:5/s:name=a" } else { "bucket:5/s" };
        assert!(server.line(&format!("RL.ACQUIRE {key} {limit} COST 5")).rate_limit().is_granted());
        for command in between.split("; ") {
            server.line(command);
        }
        server.clock_advance(400_000);
        let then = || server.line(&format!("RL.ACQUIRE {key} {limit} COST 3")).rate_limit();
        assert_eq!(then().retry_after_ms, 200, "{key}");
        server.clock_advance(200_000);
        assert!(then().is_granted(), "{key}");
    }
}

/// A bucket that is ahead of the clock counts as just empty, by the limit that goes on with it.
#[test]
fn a_clock_step_leaves_no_debt_of_another_count() {
    let server = Server::start();
    for aside in [false, true] {
        server.ok("FLUSHALL");
        server.clock_set((T0 + HOUR).cast_signed());
        server.line("RL.ACQUIRE k bucket:1000/s");
        if aside {
            server.line("RL.ACQUIRE k 5/m");
        }
        server.clock_set(T0.cast_signed());
        let reply = server.line("RL.CHARGE k bucket:1/s COST 1").rate_limit();
        assert_eq!((reply.retry_after_ms, reply.reset_after_ms), (2_000, 2_000), "{reply:?}");
    }
}
