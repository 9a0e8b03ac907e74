//! A web server's traffic at its own times, one limiter per address: each
//! decision is that of a model that forgets nothing and counts anew each time.

use std::collections::HashMap;

use crate::{
    harness::{Reply, Server},
    models::bucket::FractionBucket,
    models::limit::{Counting, LimitModel},
    support::{Dice, LoggedRequest, logged_requests, named_log},
};

/// Generated requests, and those of the log that `FLOODGATE_LOG` names: what must hold of one holds of both.
pub fn logs() -> Vec<Vec<LoggedRequest>> {
    let named = named_log().map(|path| logged_requests(&path));
    std::iter::once(generated()).chain(named).collect()
}

/// Many who come now and then, and a few crawlers that come in bursts.
fn generated() -> Vec<LoggedRequest> {
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
    let decided: Vec<_> = logs().iter().map(|log| replay_log(log, limits, model)).collect();
    let (granted, denied) = decided[0];
    assert!(granted > 4000 && denied > 20, "{limits}: {granted} granted, {denied} denied of those generated");
}

/// How many requests were granted and denied.
fn replay_log(log: &[LoggedRequest], limits: &str, model: &Model) -> (usize, usize) {
    let server = Server::start();
    let mut wire = server.wire();
    let mut models: HashMap<String, Model> = HashMap::new();
    let (mut yes, mut no) = (0, 0);
    for chunk in log.chunks(500) {
        let commands: Vec<String> = chunk
            .iter()
            .flat_map(|(address, time)| {
                [format!("RL.DEBUG CLOCK SET {time}"), format!("RL.ACQUIRE ip:{address} {limits}")]
            })
            .collect();
        let replies = wire.lines(&commands);
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
    (yes, no)
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
