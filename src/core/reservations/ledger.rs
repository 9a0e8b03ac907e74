//! Whose units are whose, on one limit.
//!
//! Units in use leave a limit oldest first by time, and newest first by
//! RL.REFUND. So it is enough to know how many units were granted after those of a
//! reservation: of what is in use now, that many lie above its own, and what of it
//! lies beneath them is as old as itself or older. That stays right by itself when
//! units leave, when a count or a period changes, when the limit starts fresh and
//! when the clock steps.

use super::summed::{Summed, Weighted};
use crate::core::limits::Layer;

/// The units of one reservation, and the units of nobody in particular between it
/// and the reservation before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// Units of nobody's beneath its own.
    pub gap: u64,
    /// Its own.
    pub own: u64,
}

impl Weighted for Stake {
    fn weight(&self) -> u128 {
        u128::from(self.gap) + u128::from(self.own)
    }
}

/// Where a reservation's units lie among those granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Units that were granted after its own and not taken back.
    pub above: u64,
    /// Its own that were not taken back.
    pub own: u64,
}

/// Units granted on one limit since its oldest reservation, in the order of their
/// grants. A reservation is known by its serial number, greater the later it was
/// granted.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    stakes: Summed<u64, Stake>,
    /// Units of nobody's above all reservations.
    tail: u64,
}

impl Ledger {
    /// True when no reservation has units.
    pub fn is_empty(&self) -> bool {
        self.stakes.is_empty()
    }

    /// Units of nobody's above all reservations.
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// Units are granted to nobody in particular. What is deeper than 2^64 units has
    /// left every limit long ago.
    pub const fn grant(&mut self, units: u64) {
        self.tail = self.tail.saturating_add(units);
    }

    /// Units are granted to a reservation, the newest so far.
    pub fn stake(&mut self, serial: u64, units: u64) {
        if units > 0 {
            let gap = std::mem::take(&mut self.tail);
            self.stakes.insert(serial, Stake { gap, own: units });
        }
    }

    /// Where the units of a reservation lie, if any are its own.
    pub fn standing(&self, serial: u64) -> Standing {
        let Some((_, stake)) = self.stakes.get(&serial) else { return Standing::default() };
        let above = self.stakes.after(&serial) + u128::from(self.tail);
        Standing { above: u64::try_from(above).unwrap_or(u64::MAX), own: stake.own }
    }

    /// The units of a reservation, with those of nobody's beneath them.
    pub fn get(&self, serial: u64) -> Option<Stake> {
        self.stakes.get(&serial).map(|(_, stake)| *stake)
    }

    /// A reservation is settled or forgotten: so many of its units were given back,
    /// the others become nobody's.
    pub fn settle(&mut self, serial: u64, given_back: u64) {
        let Some((_, stake)) = self.stakes.remove(&serial) else { return };
        let left = stake.gap.saturating_add(stake.own.saturating_sub(given_back));
        match self.stakes.next(&serial) {
            Some(next) => {
                self.stakes.change(&next, |next| next.gap = next.gap.saturating_add(left));
            }
            None => self.grant(left),
        }
    }

    /// The newest units are taken back, whoever has them.
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

    /// Puts a stake where it was when it was stored.
    pub fn load(&mut self, serial: u64, stake: Stake) {
        self.stakes.insert(serial, stake);
    }

    /// Puts back the units above all reservations.
    pub const fn load_tail(&mut self, units: u64) {
        self.tail = units;
    }

    /// Bytes that it holds beside itself.
    pub fn memory(&self) -> usize {
        self.stakes.memory()
    }
}

/// A reservation that version 0.1 remembered.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// Its serial number.
    pub serial: u64,
    /// What it took.
    pub units: u64,
    /// What the limit tells of them; nothing where they have left it.
    pub layer: Option<Layer>,
}

impl Ledger {
    /// What can be said for certain of reservations that were stored without a
    /// ledger, in the order of their grants: none has more than it may have, and
    /// units of nobody's lie above theirs.
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
                match newer {
                    Some(newer) => {
                        ledger.stakes.change(&newer, |newer| newer.gap = newer.gap.saturating_add(gap));
                    }
                    None => ledger.grant(gap),
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Grant(u64),
        Stake(u64),
        Settle(prop::sample::Index, u64),
        Trim(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0..9u64).prop_map(Op::Grant),
            3 => (1..9u64).prop_map(Op::Stake),
            2 => (any::<prop::sample::Index>(), 0..9u64).prop_map(|(which, back)| Op::Settle(which, back)),
            1 => (0..40u64).prop_map(Op::Trim),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        /// A row of units, each with its owner, says the same.
        #[test]
        fn it_tells_what_a_row_of_units_tells(ops in prop::collection::vec(op(), 0..120)) {
            let (mut ledger, mut row) = (Ledger::default(), Vec::<Option<u64>>::new());
            let mut open: Vec<u64> = Vec::new();
            for (serial, op) in (0..).zip(ops) {
                match op {
                    Op::Grant(n) => {
                        ledger.grant(n);
                        row.extend((0..n).map(|_| None));
                    }
                    Op::Stake(n) => {
                        ledger.stake(serial, n);
                        row.extend((0..n).map(|_| Some(serial)));
                        open.push(serial);
                    }
                    Op::Settle(which, back) if !open.is_empty() => {
                        let serial = open.remove(which.index(open.len()));
                        let mut back = back.min(ledger.standing(serial).own);
                        ledger.settle(serial, back);
                        row.retain(|owner| {
                            let gone = back > 0 && *owner == Some(serial);
                            back -= u64::from(gone);
                            !gone
                        });
                        row.iter_mut().filter(|owner| **owner == Some(serial)).for_each(|owner| *owner = None);
                    }
                    Op::Settle(..) => {}
                    Op::Trim(n) => {
                        ledger.trim(n);
                        row.truncate(row.len().saturating_sub(usize::try_from(n).unwrap()));
                    }
                }
                for &serial in &open {
                    let own = row.iter().filter(|owner| **owner == Some(serial)).count() as u64;
                    let last = row.iter().rposition(|owner| *owner == Some(serial));
                    let above = last.map_or(0, |last| row.len() - last - 1) as u64;
                    prop_assert_eq!(ledger.standing(serial), Standing { above, own });
                }
                let any = row.iter().any(Option::is_some);
                prop_assert_eq!(ledger.is_empty(), !any);
            }
        }
    }
}
