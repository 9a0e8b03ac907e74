//! The events of the last minute, in slices of a second. They cover at least the last 59 and at
//! most the last 60 seconds.
//!
//! An event may be reported later than it happened, and in any order. For example, a trial is lost
//! when its lease ends, but that is found when somebody asks. The event counts at its own time, and
//! not at all if that is more than a minute ago. After the clock stepped back, what was counted
//! later counts as of now.

use super::heaviest::HeaviestKeys;
use crate::core::time::Micros;
use std::hash::{BuildHasher, RandomState};

/// The events of some stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertTally {
    /// The number of results of calls.
    pub results: u64,
    /// The number of results that failed.
    pub failures: u64,
    /// The number of items of batches.
    pub items: u64,
    /// The number of items that were denied.
    pub items_denied: u64,
    /// The number of openings of breakers.
    pub openings: u64,
    /// The number of results that gave the duration of the call.
    pub timed: u64,
    /// The sum of these durations in microseconds.
    pub time_us: u64,
    /// The longest stall of the server in milliseconds.
    pub stall: u64,
}

impl AlertTally {
    /// Adds the events of another stretch of time.
    pub fn add(&mut self, other: &Self) {
        for (sum, n) in [
            (&mut self.results, other.results),
            (&mut self.failures, other.failures),
            (&mut self.items, other.items),
            (&mut self.items_denied, other.items_denied),
            (&mut self.openings, other.openings),
            (&mut self.timed, other.timed),
            (&mut self.time_us, other.time_us),
        ] {
            *sum = sum.saturating_add(n);
        }
        self.stall = self.stall.max(other.stall);
    }
}

/// Calls that ended in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedCalls {
    /// The number of calls.
    pub count: u64,
    /// True if they failed.
    pub failed: bool,
    /// How long each took in microseconds, if that was reported.
    pub duration_us: Option<u64>,
}

/// The kind of event for which a key is blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blamed {
    /// Results that failed.
    Failures,
    /// Time that calls took.
    Time,
    /// Openings of its breaker.
    Openings,
    /// Denied items of batches.
    Denials,
}

impl Blamed {
    /// The weight of all keys together.
    const fn total(self, tally: &AlertTally) -> u64 {
        match self {
            Self::Failures => tally.failures,
            Self::Time => tally.time_us,
            Self::Openings => tally.openings,
            Self::Denials => tally.items_denied,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Slice {
    /// The number of the second since the epoch.
    number: u64,
    tally: AlertTally,
    /// The keys to blame, by [`Blamed`].
    keys: [HeaviestKeys; 4],
}

impl Slice {
    fn keys(&self, of: Blamed) -> Option<&HeaviestKeys> {
        self.keys.get(of as usize)
    }

    #[inline]
    fn blame(&mut self, of: Blamed, hash: u64, key: &[u8], weight: u64) {
        if let Some(keys) = self.keys.get_mut(of as usize) {
            keys.add(hash, key, weight);
        }
    }

    fn begin(&mut self, number: u64) {
        self.number = number;
        self.tally = AlertTally::default();
        self.keys.iter_mut().for_each(HeaviestKeys::clear);
    }

    fn merge(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.keys.iter_mut().zip(&other.keys).for_each(|(keys, others)| keys.merge(others));
    }
}

const SLICES: u64 = 60;
const SLICE_US: u64 = 1_000_000;

/// The events of the last minute, and which keys are to blame for them.
#[derive(Debug)]
pub struct RollingMinute {
    /// Each slice is at its number modulo [`SLICES`]. One that does not belong to the last minute
    /// counts as empty.
    slices: Vec<Slice>,
    newest: u64,
    hasher: RandomState,
}

impl Default for RollingMinute {
    fn default() -> Self {
        let slices = (0..SLICES).map(|_| Slice::default()).collect();
        Self { slices, newest: 0, hasher: RandomState::new() }
    }
}

impl RollingMinute {
    /// The slice of `at`, as of `now`. `None` if it is no longer part of the minute.
    #[inline]
    fn slice(&mut self, now: Micros, at: Micros) -> Option<&mut Slice> {
        let (newest, number) = (now.0 / SLICE_US, at.min(now).0 / SLICE_US);
        if newest < self.newest {
            self.step_back(newest);
        }
        self.newest = newest;
        if number.saturating_add(SLICES) <= newest {
            return None;
        }
        let slice = self.slices.get_mut(usize::try_from(number % SLICES).ok()?)?;
        if slice.number != number {
            slice.begin(number);
        }
        Some(slice)
    }

    /// Corrects the slices after the clock stepped back: what is later counts as of now.
    #[cold]
    fn step_back(&mut self, newest: u64) {
        let mut later = Slice::default();
        for slice in &mut self.slices {
            let is_over = slice.number + SLICES <= self.newest;
            if slice.number > newest && !is_over {
                later.merge(slice);
            }
            if slice.number > newest || is_over {
                slice.begin(0);
            }
        }
        self.newest = newest;
        let now = Micros(newest.saturating_mul(SLICE_US));
        if let Some(slice) = self.slice(now, now) {
            slice.merge(&later);
        }
    }

    /// Counts calls that ended.
    #[inline]
    pub fn ended(&mut self, now: Micros, key: &[u8], calls: EndedCalls) {
        let EndedCalls { count, failed, duration_us } = calls;
        let hash = if failed || duration_us.is_some() { self.hasher.hash_one(key) } else { 0 };
        let Some(slice) = self.slice(now, now) else { return };
        slice.tally.results = slice.tally.results.saturating_add(count);
        if failed {
            slice.tally.failures = slice.tally.failures.saturating_add(count);
            slice.blame(Blamed::Failures, hash, key, count);
        }
        if let Some(us) = duration_us {
            let time = us.saturating_mul(count);
            slice.tally.timed = slice.tally.timed.saturating_add(count);
            slice.tally.time_us = slice.tally.time_us.saturating_add(time);
            slice.blame(Blamed::Time, hash, key, time);
        }
    }

    /// Counts the opening of a breaker, at a time that may be in the past.
    pub fn opened(&mut self, now: Micros, at: Micros, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let Some(slice) = self.slice(now, at) else { return };
        slice.tally.openings = slice.tally.openings.saturating_add(1);
        slice.blame(Blamed::Openings, hash, key, 1);
    }

    /// Counts items of batches that were decided.
    pub fn items(&mut self, now: Micros, count: u64) {
        if let Some(slice) = self.slice(now, now) {
            slice.tally.items = slice.tally.items.saturating_add(count);
        }
    }

    /// Counts an item of a batch that was denied.
    pub fn item_denied(&mut self, now: Micros, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let Some(slice) = self.slice(now, now) else { return };
        slice.tally.items_denied = slice.tally.items_denied.saturating_add(1);
        slice.blame(Blamed::Denials, hash, key, 1);
    }

    /// Records that the server kept its clients waiting for this many milliseconds.
    pub fn stalled(&mut self, now: Micros, ms: u64) {
        if let Some(slice) = self.slice(now, now) {
            slice.tally.stall = slice.tally.stall.max(ms);
        }
    }

    /// The slices of the minute up to `now`.
    fn at(&self, now: Micros) -> impl Iterator<Item = &Slice> + Clone {
        let newest = now.0 / SLICE_US;
        let is_of_it = move |slice: &&Slice| slice.number <= newest && slice.number + SLICES > newest;
        self.slices.iter().filter(is_of_it)
    }

    /// The sum over the minute up to `now`.
    pub fn sum(&self, now: Micros) -> AlertTally {
        let mut sum = AlertTally::default();
        self.at(now).for_each(|slice| sum.add(&slice.tally));
        sum
    }

    /// The key that certainly has more than half of the weight of the minute up to `now`.
    pub fn blamed(&self, now: Micros, of: Blamed) -> Option<&[u8]> {
        let total = of.total(&self.sum(now));
        // The sum has saturated, so shares are unknown.
        if total == u64::MAX {
            return None;
        }
        let keys = self.at(now).filter_map(|slice| slice.keys(of));
        let has_most = |key: u64| {
            let weight: u128 = keys.clone().map(|keys| u128::from(keys.weight(key))).sum();
            weight * 2 > u128::from(total)
        };
        // Such a key also has more than half of some second, and is the heaviest there.
        let mut heaviest = keys.clone().filter_map(HeaviestKeys::heaviest);
        heaviest.find(|(key, _)| has_most(*key)).map(|(_, name)| name)
    }
}
