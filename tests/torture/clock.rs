//! C1: clocks that step forward and back.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    harness::{
        Reply, Server, assert_same_data, call, eventually, move_wall_clock, wait_synced, with_wall_clock,
    },
    size::{record, tries},
    support::Dice,
};

/// 1 March 2026, 12:00 UTC, in microseconds.
const NOON: i64 = 1_772_366_400_000_000;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Limits, and the longest that each may deny after a step, in milliseconds:
/// a period, for large sliding ones and a slot, for days the longest of a year.
const LIMITS: &[(&str, i64)] = &[
    ("10/m", 60_000),
    ("1000/m", 61_200),
    ("bucket:10/m", 60_000),
    ("bucket:7/m:burst=21", 180_000),
    ("fixed:10/m", 60_000),
    ("fixed:10/m:start=first", 60_000),
    ("fixed:10/d:tz=Europe/Paris", 25 * 3_600_000),
];

/// At this time by the clock a key serves, or says when within the longest that
/// it may deny, and does then.
fn serves_within(server: &Server, key: &str, limits: &str, at: i64, longest: i64) {
    server.clock_set(at);
    // The first call after a step records it.
    let six = call!(server, "RL.ACQUIRE", key, limits);
    if six[0].int() == 0 {
        let retry = six[3].int();
        assert!((1..=longest).contains(&retry), "{limits} at {at}: {six:?}");
        server.clock_set(at + retry * 1000);
        assert_eq!(call!(server, "RL.ACQUIRE", key, limits).rate_limit().granted, 1, "{limits} at {at}");
    }
}

/// Everything is taken, the clock goes forward and everything is taken again,
/// the clock goes back: on the master and on its replica once promoted nobody is
/// denied for longer than one full period from then on.
#[test]
fn steps_of_the_clock_deny_for_one_period_at_most() {
    let steps = tries(40, 4_000);
    let master = Server::start();
    let mut chance = Dice::told();
    for step in 0..steps {
        let (limits, longest) = LIMITS[step % LIMITS.len()];
        let key = format!("k{step}");
        let forward = match chance.below(3) {
            0 => 1 + chance.below(120_000_000),
            1 => DAY * (1 + chance.below(20)),
            _ => 400 * DAY,
        };
        let take_all = || {
            let mut granted = 0;
            loop {
                let six = call!(master, "RL.ACQUIRE", &key, limits, "COST", 1_000_000, "PARTIAL");
                if six[0].int() == 0 {
                    return granted;
                }
                granted += six[0].int();
            }
        };
        master.clock_set(NOON);
        assert!(take_all() > 0);
        master.clock_set(NOON + forward);
        take_all();
        let back = NOON - chance.below(2) * chance.below(3_600_000_000_i64);
        serves_within(&master, &key, limits, back, longest);
    }
    let replica = master.replica();
    assert_same_data(&master, &replica);
    replica.ok("REPLICAOF NO ONE");
    // Its own clock is another: late, early, or the same.
    for (at, server) in [(NOON - DAY, &replica), (NOON - DAY, &master), (NOON + DAY, &replica)] {
        for step in 0..steps.min(500) {
            let (limits, longest) = LIMITS[step % LIMITS.len()];
            serves_within(server, &format!("k{step}"), limits, at, longest);
        }
    }
    record("steps of the clock, forward and back", steps, "nothing");
}

/// The same with the system's own clock, as an administrator (or a bad time
/// server) steps it: keys' expiry times included.
#[test]
fn steps_of_the_system_clock_deny_for_one_period_at_most() {
    let (master, replica) = (with_wall_clock().start(), with_wall_clock().start());
    let time = |server: &Server| server.line("TIME")[0].text().parse::<i64>().expect("a number");
    let real = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        i64::try_from(since.as_secs()).expect("this age")
    };
    let step = |server: &Server, seconds: i64| {
        move_wall_clock(server, seconds);
        // A command may still be told the time of the loop's last turn.
        eventually(Duration::from_secs(10), "the server sees the step", || {
            (time(server) - real() - seconds).abs() <= 1
        });
    };
    replica.follow(&master);
    let limits = ["2/2s", "bucket:2/2s", "fixed:2/2s", "100/2s"];
    let empty = |limits: &str, name: &str| while call!(master, "RL.ACQUIRE", name, limits)[0].int() > 0 {};
    let (hour, day) = (3600, 86_400);
    for offset in [hour, 400 * day, -hour, 0] {
        step(&master, offset);
        for limits in limits {
            empty(limits, limits);
        }
        step(&master, 0);
        for limits in limits {
            let six = call!(master, "RL.ACQUIRE", limits, limits);
            assert!(six[0].int() > 0 || six[3].int() <= 2041, "{limits} after {offset}: {six:?}");
        }
        thread::sleep(Duration::from_millis(2100));
        for limits in limits {
            assert_eq!(
                call!(master, "RL.ACQUIRE", limits, limits)[0],
                Reply::Int(1),
                "{limits} after {offset}"
            );
        }
    }
    for limits in limits {
        empty(limits, limits);
    }
    wait_synced(&master, &replica);
    step(&replica, -2 * day);
    replica.ok("REPLICAOF NO ONE");
    for limits in limits {
        let six = call!(replica, "RL.ACQUIRE", limits, limits);
        assert!(six[0].int() > 0 || six[3].int() <= 2041, "{limits} on the replica: {six:?}");
    }
    record("steps of the system's clock", 5, "nothing");
}
