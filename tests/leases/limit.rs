//! A limit that remembers the owner of each unit, and counts anew each time it is asked.

use crate::lease::terms::LeaseTerms;

/// The algorithm of the limit itself, if lent units count on it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Lent units do not count on the limit itself.
    Apart,
    Sliding,
    Fixed,
    Bucket,
}

/// Units that were reserved for one Envoy at one time, or that somebody else took.
#[derive(Clone, Copy, Debug)]
struct Hold {
    owner: Option<usize>,
    at: u64,
    units: u64,
}

/// The position of a hold.
pub type HoldIndex = usize;

/// The key in Redis.
#[derive(Debug)]
pub struct Limit {
    own: Own,
    count: u64,
    period_ms: u64,
    counted_ms: u64,
    /// How far the clock of Redis was set forward, and how far it was set back.
    ahead: u64,
    behind: u64,
    holds: Vec<Hold>,
}

impl Limit {
    pub fn new(own: Own, terms: &LeaseTerms, start: u64) -> Self {
        Self {
            own,
            count: terms.count,
            period_ms: terms.period_ms(),
            counted_ms: terms.counted_ms(),
            ahead: start,
            behind: 0,
            holds: Vec::new(),
        }
    }

    fn clock(&self, now: u64) -> u64 {
        (now + self.ahead).saturating_sub(self.behind)
    }

    pub fn step_forward(&mut self, by: u64) {
        self.ahead += by;
    }

    /// Units that were taken later than the new time count from the new time on.
    pub fn step_back(&mut self, by: u64, now: u64) {
        self.behind += by;
        let clock = self.clock(now);
        for hold in &mut self.holds {
            hold.at = hold.at.min(clock);
        }
    }

    fn sum(&self, counts: impl Fn(&Hold) -> bool) -> u64 {
        self.holds.iter().filter(|hold| counts(hold)).map(|hold| hold.units).sum()
    }

    /// The units that are reserved for one Envoy.
    pub fn held_by(&self, owner: usize, now: u64) -> u64 {
        let clock = self.clock(now);
        self.sum(|hold| hold.owner == Some(owner) && hold.at + self.counted_ms > clock)
    }

    fn used_of_own(&self, clock: u64) -> u64 {
        match self.own {
            Own::Apart => 0,
            Own::Sliding => self.sum(|hold| hold.at + self.period_ms > clock),
            Own::Fixed => self.sum(|hold| hold.at / self.period_ms == clock / self.period_ms),
            Own::Bucket => {
                let mut holds: Vec<&Hold> = self.holds.iter().collect();
                holds.sort_by_key(|hold| hold.at);
                // `missing` is in parts of a unit.
                let (mut missing, mut last) = (0u64, 0);
                for hold in holds {
                    missing = missing.saturating_sub((hold.at - last) * self.count);
                    missing += hold.units * self.period_ms;
                    last = hold.at;
                }
                missing.saturating_sub((clock - last) * self.count).div_ceil(self.period_ms)
            }
        }
    }

    fn lent(&self, clock: u64) -> u64 {
        self.sum(|hold| hold.owner.is_some() && hold.at + self.counted_ms > clock)
    }

    /// True if more units are in use than the limit has.
    pub fn is_in_debt(&self, now: u64) -> bool {
        let clock = self.clock(now);
        self.lent(clock).max(self.used_of_own(clock)) > self.count
    }

    /// The units that nobody has.
    pub fn free(&self, now: u64) -> u64 {
        let clock = self.clock(now);
        self.count.saturating_sub(self.lent(clock)).min(self.count.saturating_sub(self.used_of_own(clock)))
    }

    /// Reserves up to `cost` units. Returns the position of the hold, and the units granted.
    pub fn reserve(&mut self, owner: usize, cost: u64, now: u64) -> (HoldIndex, u64) {
        let granted = cost.min(self.free(now));
        self.holds.push(Hold { owner: Some(owner), at: self.clock(now), units: granted });
        (self.holds.len() - 1, granted)
    }

    /// Somebody else takes units one by one, if they count on the limit itself.
    pub fn take(&mut self, units: u64, now: u64) {
        let clock = self.clock(now);
        let left = self.count.saturating_sub(self.used_of_own(clock));
        if self.own != Own::Apart {
            self.holds.push(Hold { owner: None, at: clock, units: units.min(left) });
        }
    }

    /// Gives back the reserved units that were not used, or charges those that were used beyond the
    /// reservation.
    pub fn settle(&mut self, index: HoldIndex, used: u64, now: u64) {
        let clock = self.clock(now);
        let hold = &mut self.holds[index];
        let (owner, reserved) = (hold.owner, hold.units);
        hold.units = used.min(reserved);
        if used > reserved {
            self.holds.push(Hold { owner, at: clock, units: used - reserved });
        }
    }
}
