//! Two versions of a client during a deploy: their limits differ, and neither
//! disturbs what the other has used.

use std::collections::VecDeque;

use crate::harness::{Reply, Server};
use crate::support::Dice;

const T0: i64 = 1_800_000_000_000_000;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

/// A sliding log: every unit with its time. Obviously right.
#[derive(Default)]
struct Log {
    period: i64,
    units: VecDeque<i64>,
}

impl Log {
    fn used(&mut self, now: i64) -> usize {
        while self.units.front().is_some_and(|&at| at + self.period <= now) {
            self.units.pop_front();
        }
        self.units.len()
    }

    fn take(&mut self, now: i64, units: usize) {
        self.units.extend(std::iter::repeat_n(now, units));
    }
}

#[test]
fn they_never_disturb_each_other() {
    let server = Server::start();
    let mut wire = server.wire();
    let mut dice = Dice::new(7);
    // Two limits of 64 and less are exact to the microsecond, so the model is
    // the whole truth; the contract's own numbers follow below.
    let mut second = Log { period: SECOND, ..Log::default() };
    let mut hour = Log { period: HOUR, ..Log::default() };
    let versions = [("10/s,60/h", 10, 60, false), ("64/h,20/s", 20, 64, true)];
    let mut now = T0;
    let (mut granted, mut denied) = (0, 0);
    while now < T0 + 6 * HOUR {
        now += dice.below(9_000_000_i64) + i64::from(dice.below(9) == 0) * 60 * SECOND;
        for _ in 0..=dice.below(3) {
            let (limits, per_second, per_hour, swapped) = versions[dice.below(2_usize)];
            let cost = 1 + dice.below(3_usize);
            let fits = second.used(now) + cost <= per_second && hour.used(now) + cost <= per_hour;
            let replies = wire.pipeline(&[
                words(&format!("RL.DEBUG CLOCK SET {now}")),
                words(&format!("RL.ACQUIRE k {limits} COST {cost}")),
            ]);
            let six = replies[1].to_ints();
            assert_eq!(six[0] > 0, fits, "{limits} COST {cost} at {}: {six:?}", now - T0);
            if fits {
                second.take(now, cost);
                hour.take(now, cost);
                granted += 1;
            } else {
                denied += 1;
            }
            if dice.below(10) == 0 {
                let rows = wire.line(&format!("RL.QUOTA k {limits}"));
                let used = |at: usize| usize::try_from(rows[at].field("used").int()).unwrap();
                let (s, h) = if swapped { (1, 0) } else { (0, 1) };
                assert_eq!((used(s), used(h)), (second.used(now), hour.used(now)));
            }
        }
    }
    assert!(granted > 100 && denied > 100, "{granted} granted, {denied} denied");
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(String::from).collect()
}

#[test]
fn for_an_hour_of_traffic() {
    let server = Server::start();
    let mut wire = server.wire();
    let mut dice = Dice::new(11);
    let mut second = Log { period: SECOND, ..Log::default() };
    let mut hour = Log { period: HOUR, ..Log::default() };
    let versions = [("10/s,1000/h", 10, 1000), ("1000/h,20/s", 20, 1000)];
    let mut now = T0;
    let mut turn = 0;
    let (mut granted, mut denied) = (0, 0);
    while now < T0 + HOUR {
        // Bursts far above the limits, and pauses.
        let pause = if dice.below(20) == 0 { 3 * SECOND } else { 400_000 };
        now += dice.below(pause);
        let (limits, per_second, per_hour) = versions[turn % 2];
        turn += 1;
        let cost = 1 + dice.below(3_usize);
        let replies = wire.pipeline(&[
            words(&format!("RL.DEBUG CLOCK SET {now}")),
            words(&format!("RL.ACQUIRE k {limits} COST {cost}")),
        ]);
        let fits = second.used(now) + cost <= per_second && hour.used(now) + cost <= per_hour;
        // Within the first hour nothing of the hour's usage runs out, so its
        // slots count exactly what a log does.
        assert_eq!(
            replies[1][0],
            Reply::Int(if fits { i64::try_from(cost).unwrap() } else { 0 }),
            "{limits}"
        );
        if fits {
            second.take(now, cost);
            hour.take(now, cost);
            granted += 1;
        } else {
            denied += 1;
        }
    }
    assert!(granted > 300 && denied > 300, "{granted} granted, {denied} denied");
    // The usage of a version that is gone stays until it has run out.
    now += 2 * HOUR;
    wire.line(&format!("RL.DEBUG CLOCK SET {now}"));
    assert_eq!(wire.line("RL.ACQUIRE k 10/s,1000/h").to_ints()[..3], [1, 10, 9]);
}

#[test]
fn a_limit_not_listed_keeps_its_usage() {
    let server = Server::start();
    server.clock_set(T0);
    let left = |limits: &str| server.line(&format!("RL.ACQUIRE k {limits}")).to_ints()[2];
    for (step, limits) in ["60/h", "fixed:60/h", "bucket:60/h", "60/d", "60/h:per=call", "60/h:name=x"]
        .into_iter()
        .cycle()
        .take(60)
        .enumerate()
    {
        assert_eq!(left(limits), 59 - i64::try_from(step / 6).unwrap(), "{step}: {limits}");
    }
}
