//! A real web server's traffic at its own times, one limiter per address: each
//! decision is that of a model that forgets nothing and counts anew each time.

use std::{collections::HashMap, fs, path::Path};

use crate::{
    harness::{Reply, Server},
    support::Dice,
};

/// One request: who, and when in microseconds since 1970.
pub type Request = (String, u64);

/// Generated requests, and those of the log (in order of time, within a second in
/// the order logged) where that is there: what must hold of one holds of both.
pub fn logs() -> Vec<Vec<Request>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/apache-access-2015.log");
    let mut logs = vec![generated()];
    if let Ok(text) = fs::read_to_string(path) {
        let mut real: Vec<_> =
            text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("{line}"))).collect();
        real.sort_by_key(|(_, time)| *time);
        assert!(real.len() >= 5000);
        logs.push(real);
    }
    logs
}

fn parse(line: &str) -> Option<Request> {
    let (address, rest) = line.split_once(' ')?;
    let stamp = rest.split_once('[')?.1.split_once(' ')?.0;
    let mut parts = stamp.split(['/', ':']);
    let mut part = || parts.next();
    let day: i64 = part()?.parse().ok()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = part()?;
    let month = i64::try_from(months.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = part()?.parse().ok()?;
    let clock: Vec<i64> = (0..3).map_while(|_| part()?.parse().ok()).collect();
    let [hour, minute, second] = clock[..] else { return None };
    // Days since 1970 in the Gregorian calendar, counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some((address.to_owned(), u64::try_from(seconds).ok()? * 1_000_000))
}

/// Many who come now and then, and a few crawlers that come in bursts, as in the log.
fn generated() -> Vec<Request> {
    let mut dice = Dice::new(31);
    let mut time = 1_431_857_100;
    let (mut crawler, mut left) = (0, 0);
    (0..5000)
        .map(|_| {
            if left == 0 && dice.chance(1) {
                (crawler, left) = (dice.below(3), 36);
            }
            let address = if left > 0 {
                left -= 1;
                time += u64::from(dice.chance(20));
                crawler
            } else {
                time += dice.below(20);
                dice.below(800)
            };
            (format!("10.0.{}.{}", address / 256, address % 256), time * 1_000_000)
        })
        .collect()
}

const MINUTE: u64 = 60_000_000;

/// What a limiter would do, from the times of all that it ever granted.
type Model = fn(granted: &[u64], now: u64) -> bool;

fn sliding(granted: &[u64], now: u64) -> bool {
    granted.iter().filter(|&&at| now - at < MINUTE).count() < 30
}

fn fixed(granted: &[u64], now: u64) -> bool {
    granted.iter().filter(|&&at| at / MINUTE == now / MINUTE).count() < 30
}

/// 30 a minute into a bucket of 10, in thirds of a microsecond's worth: a unit
/// is 60 000 000 of them, and each microsecond brings 30.
fn bucket(granted: &[u64], now: u64) -> bool {
    const UNIT: u64 = MINUTE;
    const FULL: u64 = 10 * UNIT;
    let mut level = FULL;
    let mut last = 0;
    for &at in granted {
        level = (level + (at - last) * 30).min(FULL) - UNIT;
        last = at;
    }
    (level + (now - last) * 30).min(FULL) >= UNIT
}

fn replay(limits: &str, model: Model) {
    for log in logs() {
        replay_log(&log, limits, model);
    }
}

fn replay_log(log: &[Request], limits: &str, model: Model) {
    let server = Server::start();
    let mut wire = server.wire();
    let mut granted: HashMap<String, Vec<u64>> = HashMap::new();
    let (mut yes, mut no) = (0, 0);
    for chunk in log.chunks(500) {
        let commands: Vec<Vec<String>> = chunk
            .iter()
            .flat_map(|(address, time)| {
                [
                    ["RL.DEBUG", "CLOCK", "SET", &time.to_string()].map(str::to_owned).to_vec(),
                    ["RL.ACQUIRE", &format!("ip:{address}"), limits].map(str::to_owned).to_vec(),
                ]
            })
            .collect();
        let replies = wire.pipeline(&commands);
        for ((address, time), pair) in chunk.iter().zip(replies.chunks(2)) {
            let past = granted.entry(address.clone()).or_default();
            let expected = model(past, *time);
            assert_eq!(pair[0], Reply::ok());
            assert_eq!(pair[1][0].int() == 1, expected, "{address} at {time} under {limits}");
            if expected {
                past.push(*time);
                yes += 1;
            } else {
                no += 1;
            }
        }
    }
    assert!(yes > 4000 && no > 20, "{limits}: {yes} granted, {no} denied");
}

#[test]
fn sliding_decides_as_the_model() {
    replay("sliding:30/m", sliding);
}

#[test]
fn bucket_decides_as_the_model() {
    replay("bucket:30/m:burst=10", bucket);
}

#[test]
fn fixed_decides_as_the_model() {
    replay("fixed:30/m", fixed);
}
