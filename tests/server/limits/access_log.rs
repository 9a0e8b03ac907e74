//! A real web server's traffic at its own times, one limiter per address: each
//! decision is that of a model that forgets nothing and counts anew each time.

use std::{collections::HashMap, fs};

use crate::support::root;
use crate::{
    harness::{Reply, Server},
    models::bucket::FractionBucket,
    models::limit::{Counting, LimitModel},
    support::Dice,
};

/// One request: who, and when in microseconds since 1970.
pub type Request = (String, u64);

/// Generated requests, and those of the log (in order of time, within a second in
/// the order logged) where that is there: what must hold of one holds of both.
pub fn logs() -> Vec<Vec<Request>> {
    let path = root().join("../shared/data/apache-access-2015.log");
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

/// The model of one address.
#[derive(Clone)]
enum Model {
    Counts(LimitModel),
    Bucket(FractionBucket),
}

impl Model {
    /// Whether one more unit is granted, which is taken then.
    fn asks(&mut self, now: u64) -> bool {
        match self {
            Self::Counts(limit) => {
                let fits = limit.fits(now, 1);
                if fits {
                    limit.take(now, 1);
                }
                fits
            }
            Self::Bucket(bucket) => {
                bucket.advance(now);
                bucket.take(1)
            }
        }
    }
}

fn replay(limits: &str, model: &Model) {
    for log in logs() {
        replay_log(&log, limits, model);
    }
}

fn replay_log(log: &[Request], limits: &str, model: &Model) {
    let server = Server::start();
    let mut wire = server.wire();
    let mut models: HashMap<String, Model> = HashMap::new();
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
            let expected = models.entry(address.clone()).or_insert_with(|| model.clone()).asks(*time);
            assert_eq!(pair[0], Reply::ok());
            assert_eq!(pair[1].rate_limit().is_granted(), expected, "{address} at {time} under {limits}");
            if expected {
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
    replay("sliding:30/m", &Model::Counts(LimitModel::new(Counting::Sliding, 30, MINUTE)));
}

#[test]
fn bucket_decides_as_the_model() {
    replay("bucket:30/m:burst=10", &Model::Bucket(FractionBucket::new(30, MINUTE, 10, 0)));
}

#[test]
fn fixed_decides_as_the_model() {
    replay("fixed:30/m", &Model::Counts(LimitModel::new(Counting::Fixed, 30, MINUTE)));
}
