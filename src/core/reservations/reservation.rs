//! One reservation: its times, its stage and what it took.

use super::summed::Weighted;
use crate::core::limits::{Charge, LimitMask, Taken};
use crate::core::text::duration::DAY;
use crate::core::time::Micros;
use std::sync::Arc;

/// How long an ended reservation that took from a credit is remembered, in microseconds.
pub const ON_CREDIT_US: u64 = DAY;

/// The ID of a reservation.
pub type Id = Arc<[u8]>;

/// The stage of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The reservation is not settled, and its time has not ended.
    Open,
    /// The time of the reservation has ended, so it stands committed at its cost.
    Ended,
}

/// The way in which the units of a reservation leave the limits that it took from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// All of them leave, in time.
    ByThemselves,
    /// Some lie on a credit and stay. So the reservation is remembered for at least
    /// [`ON_CREDIT_US`] after its end.
    NotFromCredit,
}

/// One reservation of a key. `L` is the key's way to refer to limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation<L> {
    /// The number of reserved units.
    pub cost: u64,
    /// The time of the grant.
    pub granted: Micros,
    /// The start of its time: its grant or its last renewal.
    pub since: Micros,
    /// The end of its time.
    pub end: Micros,
    /// The moment at which its units have left every limit, except a credit, where they stay. If a
    /// limit became slower since, they are in use for longer. So whoever forgets a reservation asks
    /// the limits then.
    pub left_by: Micros,
    /// The serial number. It is greater than that of every reservation that the key granted before.
    pub serial: u64,
    /// The limits by which it was granted.
    pub limits: L,
    /// The limits that were charged. A shadow limit that would have denied is not charged.
    pub charged: LimitMask,
    /// The units that each limit was charged, if some shadow limit could not take the whole cost.
    pub less: Option<Box<Taken>>,
    /// The way in which the units of the reservation leave the limits.
    pub leaving: Leaving,
    /// The stage that is recorded. An open reservation may have ended by now.
    pub stage: Stage,
}

// A reservation with its ID fits the allocator's size class of 80 bytes.
const _: () = assert!(size_of::<(Id, Reservation<u32>)>() <= 80);

impl<L> Weighted for Reservation<L> {}

impl<L> Reservation<L> {
    /// The units that it took from the limit at `at`, which must be one of those charged.
    pub fn taken(&self, at: usize, charge: Charge) -> u64 {
        match (&self.less, charge) {
            (Some(taken), _) => taken.units(at),
            (None, Charge::Call) => 1,
            (None, Charge::Cost) => self.cost,
        }
    }

    /// The stage at `now`, even if it is not recorded yet. `None` if the reservation is forgotten, unless
    /// a limit became slower since and its units are in use.
    pub fn stage_at(&self, now: Micros) -> Option<Stage> {
        match self.stage {
            Stage::Open if now < self.end => Some(Stage::Open),
            Stage::Open | Stage::Ended if now < self.forgotten_at() => Some(Stage::Ended),
            Stage::Open | Stage::Ended => None,
        }
    }

    /// The approximate number of bytes that it holds outside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        if self.less.is_some() { size_of::<Taken>() } else { 0 }
    }

    /// The moment at which it is forgotten if nobody settles it.
    pub(super) fn forgotten_at(&self) -> Micros {
        let remembered = match self.leaving {
            Leaving::ByThemselves => self.end,
            Leaving::NotFromCredit => self.end.plus(ON_CREDIT_US),
        };
        remembered.max(self.left_by)
    }

    /// Corrects the times after the clock stepped back to `now`. `seen` is the latest time that the
    /// key had seen. A reservation that began after `now` begins at `now` and lasts as long as
    /// before. One that had ended stays ended.
    pub(super) fn step_back(&mut self, seen: Micros, now: Micros) {
        if self.end <= seen {
            self.stage = Stage::Ended;
        }
        match self.stage {
            Stage::Ended => self.end = self.end.min(now),
            Stage::Open if self.since > now => {
                self.end = now.plus(self.end.since(self.since)).min(Micros::MAX);
            }
            Stage::Open => {}
        }
        if self.granted > now {
            self.left_by = now.plus(self.left_by.since(self.granted)).min(Micros::MAX);
        }
        self.granted = self.granted.min(now);
        self.since = self.since.min(now);
    }
}
