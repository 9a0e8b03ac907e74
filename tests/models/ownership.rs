//! A row of units that each know their owner.
//!
//! It promises whose units are in use at any time, and which go back when a reservation is
//! settled or units are refunded, under each algorithm with a period of one second.

pub const PERIOD: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    Sliding,
    Bucket,
    Fixed,
    Credit,
}

impl Algorithm {
    pub fn text(self, count: u64) -> String {
        match self {
            Self::Sliding => format!("{count}/s"),
            Self::Bucket => format!("bucket:{count}/s"),
            Self::Fixed => format!("fixed:{count}/s"),
            Self::Credit => format!("fixed:{count}/ever"),
        }
    }
}

/// A unit that is in use.
#[derive(Clone, Debug)]
pub struct Unit {
    pub owner: Option<u8>,
    pub at: u64,
    /// What of it has not come back to its bucket: `PERIOD` and less.
    pub left: u64,
}

#[derive(Clone)]
pub struct UnitRow {
    pub algorithm: Algorithm,
    pub count: u64,
    pub now: u64,
    pub units: Vec<Unit>,
}

impl UnitRow {
    pub fn advance(&mut self, us: u64) {
        self.now += us;
        match self.algorithm {
            Algorithm::Sliding => {
                let now = self.now;
                self.units.retain(|unit| unit.at + PERIOD > now);
            }
            Algorithm::Fixed => {
                let window = self.now / PERIOD;
                self.units.retain(|unit| unit.at / PERIOD == window);
            }
            Algorithm::Credit => {}
            Algorithm::Bucket => {
                let mut back = us * self.count;
                for unit in &mut self.units {
                    let gone = back.min(unit.left);
                    unit.left -= gone;
                    back -= gone;
                }
                self.units.retain(|unit| unit.left > 0);
            }
        }
    }

    pub fn used(&self) -> u64 {
        self.units.iter().map(|unit| unit.left).sum::<u64>().div_ceil(PERIOD)
    }

    pub fn grant(&mut self, owner: Option<u8>, units: u64) {
        let unit = Unit { owner, at: self.now, left: PERIOD };
        self.units.extend(std::iter::repeat_n(unit, units as usize));
    }

    /// Takes so many units back of those that `of` says, newest first.
    pub fn take_back(&mut self, units: u64, of: impl Fn(&Unit) -> bool) {
        let mut left = units * PERIOD;
        for unit in self.units.iter_mut().rev().filter(|unit| of(unit)) {
            let gone = left.min(unit.left);
            unit.left -= gone;
            left -= gone;
        }
        self.units.retain(|unit| unit.left > 0);
    }

    pub fn settle(&mut self, id: u8, cost: u64, actual: u64) {
        if actual > cost {
            // A unit that has come back in part leaves room for as much of another. The oldest make room.
            let left = |row: &Self| row.units.iter().map(|unit| unit.left).sum::<u64>();
            let most = left(self).max(2 * self.count * PERIOD);
            let room = (most - left(self)).div_ceil(PERIOD);
            self.grant(None, (actual - cost).min(room));
            let mut over = left(self).saturating_sub(most);
            for unit in &mut self.units {
                let gone = over.min(unit.left);
                unit.left -= gone;
                over -= gone;
            }
            self.units.retain(|unit| unit.left > 0);
        } else {
            // In a bucket the oldest of its own have come back first: what is given
            // back is the rest of them.
            self.take_back(cost - actual, |unit| unit.owner == Some(id));
        }
        for unit in self.units.iter_mut().filter(|unit| unit.owner == Some(id)) {
            unit.owner = None;
        }
    }
}

/// A unit that is partly back lies in the middle only where its owner settled: then
/// a row of units cannot be told from what a bucket keeps, so the row is made even.
pub fn even(row: &mut UnitRow) {
    let mut missing: u64 = row.units.iter().map(|unit| unit.left).sum();
    for unit in row.units.iter_mut().rev() {
        unit.left = missing.min(PERIOD);
        missing -= unit.left;
    }
    assert_eq!(missing, 0);
    row.units.retain(|unit| unit.left > 0);
}
