//! A credit (`fixed:N/ever`) by a row of units that each know their owner, and a list of
//! reservations.
//!
//! It promises what is in use: nothing in it comes back by time. And it promises what is
//! known of each reservation.

use floodgate::core::limits::Taken;
use floodgate::core::reservations::Stage;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// What a call lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Listed {
    Credit,
    Both,
    Beside,
}

impl Listed {
    pub fn text(self, count: u64) -> String {
        match self {
            Self::Credit => credit(count),
            Self::Both => format!("bucket:1000000/s,{}", credit(count)),
            Self::Beside => "bucket:1000000/s".to_owned(),
        }
    }

    /// The units that a call of so many takes, by position.
    pub fn units(self, cost: u64) -> Taken {
        if self == Self::Both { Taken::new([cost, cost]) } else { Taken::new([cost]) }
    }
}

pub fn credit(count: u64) -> String {
    format!("fixed:{count}/ever")
}

#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    pub id: u8,
    pub cost: u64,
    /// Of the credit when it was granted.
    pub count: u64,
    pub end: u64,
    /// It took from the credit.
    pub charged: bool,
    /// When its units have left the limit beside.
    pub beside_until: u64,
}

impl Reserved {
    pub fn forgotten_at(self) -> u64 {
        let after_end = if self.charged { DAY } else { 0 };
        (self.end + after_end).max(self.beside_until)
    }
}

#[derive(Default)]
pub struct CreditModel {
    pub now: u64,
    /// The count of the credit when it was listed last.
    pub count: u64,
    /// The key knows the limit: it is listed, or something of it was used when another call
    /// was granted that does not list it.
    pub is_known: bool,
    /// Every unit in use, in the order of the grants.
    pub units: Vec<Option<u8>>,
    pub reserved: Vec<Reserved>,
}

impl CreditModel {
    pub fn used(&self) -> u64 {
        self.units.len() as u64
    }

    pub fn grant(&mut self, owner: Option<u8>, units: u64) {
        self.units.extend((0..units).map(|_| owner));
    }

    pub fn list(&mut self, listed: Listed, count: u64) {
        if listed == Listed::Beside {
            self.is_known &= self.used() > 0;
        } else {
            (self.count, self.is_known) = (count, true);
        }
    }

    pub fn forget(&mut self) {
        let now = self.now;
        for one in self.reserved.extract_if(.., |one| one.forgotten_at() <= now) {
            disown(&mut self.units, one.id);
        }
    }

    pub fn settle(&mut self, id: u8, actual: u64) {
        let Some(at) = self.reserved.iter().position(|one| one.id == id) else { return };
        let one = self.reserved.swap_remove(at);
        if one.charged && actual > one.cost {
            let count = if self.is_known { self.count } else { one.count };
            (self.count, self.is_known) = (count, true);
            let most = (2 * count).saturating_sub(self.used());
            self.grant(None, (actual - one.cost).min(most));
        } else if one.charged {
            for _ in actual..one.cost {
                match self.units.iter().rposition(|owner| *owner == Some(id)) {
                    Some(newest) => drop(self.units.remove(newest)),
                    None => break,
                }
            }
        }
        disown(&mut self.units, id);
    }

    pub fn stage(&self, id: u8) -> Option<Stage> {
        let one = self.reserved.iter().find(|one| one.id == id)?;
        Some(if self.now < one.end { Stage::Open } else { Stage::Ended })
    }
}

/// What is not given back is nobody's from now on.
pub fn disown(units: &mut [Option<u8>], id: u8) {
    units.iter_mut().filter(|owner| **owner == Some(id)).for_each(|owner| *owner = None);
}
