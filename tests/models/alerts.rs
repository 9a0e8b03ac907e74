//! The figures of the last minute, by a list of every event.
//!
//! It promises the sums over the seconds of the last minute, and the key with more than
//! half of a weight.

use floodgate::core::stats::alerts::{AlertTally, Blamed};
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

/// Something that happened to a key.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Results {
        failed: bool,
        count: u64,
        us: Option<u64>,
    },
    /// So long before it is told.
    Opened {
        before: u64,
    },
    Item {
        denied: bool,
    },
}

/// Each event with the second under which it counts.
#[derive(Default)]
pub struct MinuteModel(pub Vec<(u64, u8, Event)>);

impl MinuteModel {
    pub fn step_back(&mut self, now: u64) {
        self.0.iter_mut().for_each(|(second, ..)| *second = (*second).min(now / SECOND));
    }

    pub fn add(&mut self, now: u64, key: u8, event: Event) {
        let before = if let Event::Opened { before } = event { before } else { 0 };
        self.0.push(((now - before) / SECOND, key, event));
        // What is over stays so, wherever the clock steps.
        self.0.retain(|(second, ..)| second + 60 > now / SECOND);
    }

    pub fn minute(&self, now: u64) -> impl Iterator<Item = (u8, Event)> {
        let now = now / SECOND;
        let of_it = move |second: u64| second <= now && second + 60 > now;
        self.0.iter().filter(move |(second, ..)| of_it(*second)).map(|(_, key, event)| (*key, *event))
    }

    pub fn sum(&self, now: u64) -> AlertTally {
        let mut sum = AlertTally::default();
        for (_, event) in self.minute(now) {
            match event {
                Event::Results { failed, count, us } => {
                    sum.results += count;
                    sum.failures += if failed { count } else { 0 };
                    sum.timed += if us.is_some() { count } else { 0 };
                    sum.time_us += us.unwrap_or(0) * count;
                }
                Event::Opened { .. } => sum.openings += 1,
                Event::Item { denied } => {
                    sum.items += 1;
                    sum.items_denied += u64::from(denied);
                }
            }
        }
        sum
    }

    /// The key with more than half of the weight.
    pub fn blamed(&self, now: u64, of: Blamed) -> Option<u8> {
        let mut weights: BTreeMap<u8, u64> = BTreeMap::new();
        for (key, event) in self.minute(now) {
            let weight = match (of, event) {
                (Blamed::Failures, Event::Results { failed: true, count, .. }) => count,
                (Blamed::Time, Event::Results { us: Some(us), count, .. }) => us * count,
                (Blamed::Openings, Event::Opened { .. })
                | (Blamed::Denials, Event::Item { denied: true }) => 1,
                _ => 0,
            };
            *weights.entry(key).or_default() += weight;
        }
        let total: u64 = weights.values().sum();
        weights.into_iter().find(|(_, weight)| weight * 2 > total).map(|(key, _)| key)
    }
}
