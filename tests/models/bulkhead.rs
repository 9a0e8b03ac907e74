//! A bulkhead, by a list of reservations and a number of units that a day gives back.
//!
//! It promises what denies a call behind a breaker, for how long, and which reservations
//! are open, by a clock that steps both ways.

pub const PLACES: i64 = 3;
pub const UNITS: i64 = 60;
/// What of them only CRITICAL may use.
pub const KEPT: i64 = 15;
pub const LIMITS: &str = "concurrent:3,fixed:60/d:keep=25%";
pub const RATE: &str = "fixed:60/d:keep=25%";
pub const DAY: u64 = 86_400_000_000;

#[derive(Clone, Debug)]
pub struct BulkheadReservation {
    pub id: String,
    pub cost: i64,
    pub since: u64,
    pub end: u64,
    pub ended: bool,
}

/// What one key of a limit holds.
#[derive(Clone, Debug, Default)]
pub struct Bulkhead {
    pub used: i64,
    pub all: Vec<BulkheadReservation>,
    pub seen: u64,
}

/// Why a call is denied, and for how long; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BulkheadDenial {
    pub index: i64,
    pub wait: Option<u64>,
}

impl Bulkhead {
    /// As it is at `now`: what began later begins now, and what has ended stays so.
    pub fn at(&self, now: u64) -> Self {
        let mut all = self.clone();
        for one in &mut all.all {
            one.ended |= one.end <= self.seen;
            if one.since > now {
                one.end -= one.since - now;
                one.since = now;
            }
            one.ended |= one.end <= now;
        }
        all.seen = now;
        all
    }

    pub fn open(&self) -> impl Iterator<Item = &BulkheadReservation> {
        self.all.iter().filter(|one| !one.ended)
    }

    pub fn find(&self, id: &str) -> Option<&BulkheadReservation> {
        self.all.iter().find(|one| one.id == id)
    }

    pub fn remove(&mut self, id: &str) {
        self.all.retain(|one| one.id != id);
    }

    /// What denies `cost` units, and a place where one is wanted: the limit that does so
    /// for longest, the first of equals.
    pub fn denial(&self, cost: i64, critical: bool, place: bool, now: u64) -> Option<BulkheadDenial> {
        let capacity = if critical { UNITS } else { UNITS - KEPT };
        let mut found: Option<BulkheadDenial> = None;
        if place && self.open().count() as i64 >= PLACES {
            let mut ends: Vec<u64> = self.open().map(|one| one.end).collect();
            ends.sort_unstable();
            let free = ends[ends.len() - PLACES as usize];
            found = Some(BulkheadDenial { index: 0, wait: Some(free - now) });
        }
        if self.used + cost > capacity {
            let midnight = DAY - now % DAY;
            let wait = (cost <= capacity).then_some(midnight);
            let index = i64::from(place);
            let longer = |wait: Option<u64>, than: Option<u64>| match (wait, than) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(wait), Some(than)) => wait > than,
            };
            if found.is_none_or(|found| longer(wait, found.wait)) {
                found = Some(BulkheadDenial { index, wait });
            }
        }
        found
    }
}
