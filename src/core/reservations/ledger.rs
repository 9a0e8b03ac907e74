//! The ledger of one limit: which of its units belong to which reservation.
//!
//! Time removes units in use from the oldest on, and RL.REFUND from the newest on. So it is enough
//! to know how many units were granted after those of a reservation. Of the units in use now, that
//! many lie above its own; the units beneath them are as old as its own, or older. This stays right
//! without any update when units leave, when a count or a period changes, when the limit starts
//! fresh, and when the clock steps.

use super::summed::{Summed, Weighted};
use crate::core::limits::Layer;

/// The units of one reservation, and the units without a reservation between it and the reservation
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// The units without a reservation beneath its own.
    pub gap: u64,
    /// The units of the reservation.
    pub own: u64,
}

impl Weighted for Stake {
    fn weight(&self) -> u128 {
        u128::from(self.gap) + u128::from(self.own)
    }
}

/// The place of a reservation's units among those granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerPosition {
    /// The number of units that were granted after its own and not taken back.
    pub above: u64,
    /// The number of its own units that were not taken back.
    pub own: u64,
}

/// The units granted on one limit since its oldest reservation, in the order of their grants. A
/// serial number names a reservation; it is greater the later the reservation was granted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    stakes: Summed<u64, Stake>,
    /// The units without a reservation above all reservations.
    tail: u64,
}

impl Ledger {
    /// True if no reservation has units.
    pub fn is_empty(&self) -> bool {
        self.stakes.is_empty()
    }

    /// The number of units without a reservation above all reservations.
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Records units that are granted without a reservation. The sum saturates at 2^64 units,
    /// because what lies deeper has left every limit long ago.
    pub const fn grant(&mut self, units: u64) {
        self.tail = self.tail.saturating_add(units);
    }

    /// Records units that are granted to a reservation, which must be the newest so far.
    pub fn stake(&mut self, serial: u64, units: u64) {
        if units > 0 {
            let gap = std::mem::take(&mut self.tail);
            self.stakes.insert(serial, Stake { gap, own: units });
        }
    }

    /// The place of a reservation's units; zeros if it has none.
    pub fn position(&self, serial: u64) -> LedgerPosition {
        let Some((_, stake)) = self.stakes.get(&serial) else { return LedgerPosition::default() };
        let above = self.stakes.after(&serial) + u128::from(self.tail);
        LedgerPosition { above: u64::try_from(above).unwrap_or(u64::MAX), own: stake.own }
    }

    /// The units of a reservation, with the units without a reservation beneath them.
    pub fn get(&self, serial: u64) -> Option<Stake> {
        self.stakes.get(&serial).map(|(_, stake)| *stake)
    }

    /// Records that a reservation is settled or forgotten. `given_back` of its units were given
    /// back; the others no longer belong to a reservation.
    pub fn settle(&mut self, serial: u64, given_back: u64) {
        let Some((_, stake)) = self.stakes.remove(&serial) else { return };
        let left = stake.gap.saturating_add(stake.own.saturating_sub(given_back));
        self.add_beneath(self.stakes.next(&serial), left);
    }

    /// Adds units without a reservation beneath the stake of this reservation; above all if it is
    /// `None`.
    fn add_beneath(&mut self, serial: Option<u64>, units: u64) {
        match serial {
            Some(serial) => {
                self.stakes.change(&serial, |stake| stake.gap = stake.gap.saturating_add(units));
            }
            None => self.grant(units),
        }
    }

    /// Takes back the newest units, whichever reservation they belong to.
    pub fn trim(&mut self, units: u64) {
        if units <= self.tail {
            self.tail -= units;
            return;
        }
        let left = self.stakes.cut(u128::from(units - self.tail));
        self.tail = 0;
        let (Some(&(serial, stake)), Ok(left)) = (self.stakes.last(), u64::try_from(left)) else { return };
        match stake.own.checked_sub(left) {
            Some(own) if own > 0 => {
                self.stakes.change(&serial, |stake| stake.own = own);
            }
            _ => {
                self.stakes.remove(&serial);
                self.tail = stake.gap.saturating_sub(left.saturating_sub(stake.own));
            }
        }
    }

    /// Restores a stake from storage.
    pub fn load(&mut self, serial: u64, stake: Stake) {
        self.stakes.insert(serial, stake);
    }

    /// Restores the units above all reservations from storage.
    pub const fn load_tail(&mut self, units: u64) {
        self.tail = units;
    }

    /// The bytes that the ledger holds outside itself.
    pub fn memory(&self) -> usize {
        self.stakes.memory()
    }
}

/// A reservation that version 0.1 stored.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// The serial number of the reservation.
    pub serial: u64,
    /// The units that it took.
    pub units: u64,
    /// The layer that the limit still shows of these units; `None` if the units have left the
    /// limit.
    pub layer: Option<Layer>,
}

impl Ledger {
    /// The ledger for reservations that were stored without one, in the order of their grants. It
    /// holds what is certain: no reservation has more than it may have, and units without a
    /// reservation lie above theirs.
    pub fn of_remembered(all: &[Remembered]) -> Self {
        let mut ledger = Self::default();
        let (mut above, mut newer): (u64, Option<u64>) = (0, None);
        for layer in all.chunk_by(|a, b| a.position() == b.position()).rev() {
            let Some(there) = layer.iter().find_map(|one| one.layer) else { continue };
            let mut room = there.units;
            let own: Vec<(u64, u64)> = layer
                .iter()
                .rev()
                .map(|one| {
                    let own = one.units.min(room);
                    room -= own;
                    (one.serial, own)
                })
                .filter(|(_, own)| *own > 0)
                .collect();
            let mut gap = there.above.saturating_add(room).saturating_sub(above);
            for (serial, own) in own {
                ledger.add_beneath(newer, gap);
                above = above.saturating_add(gap).saturating_add(own);
                gap = 0;
                ledger.stakes.insert(serial, Stake { gap: 0, own });
                newer = Some(serial);
            }
        }
        ledger
    }
}

impl Remembered {
    fn position(&self) -> Option<u64> {
        self.layer.map(|layer| layer.position)
    }
}
