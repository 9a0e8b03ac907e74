//! The times of many reservations: which one ends next, and which one is forgotten next.

use super::ordered::Ordered;
use super::reservation::{Id, Reservation, Stage};
use crate::core::time::Micros;

/// Reservation IDs, sorted by a time.
type ByTime = Ordered<(Micros, Id), ()>;

/// The IDs of the reservations of a key, by their times.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// The open reservations by their end.
    ends: ByTime,
    /// The ended reservations by the time at which they are forgotten.
    ended: ByTime,
    /// The open reservations that are remembered for longer than their time, by the time at which
    /// they are forgotten.
    late: ByTime,
}

impl Times {
    /// Adds a reservation.
    pub fn place<L>(&mut self, id: &Id, one: &Reservation<L>) {
        match one.stage {
            Stage::Open => {
                self.ends.insert((one.end, id.clone()), ());
                if one.forgotten_at() > one.end {
                    self.late.insert((one.forgotten_at(), id.clone()), ());
                }
            }
            Stage::Ended => self.ended.insert((one.forgotten_at(), id.clone()), ()),
        }
    }

    /// Removes a reservation. `one` is as it was when it was added.
    pub fn displace<L>(&mut self, id: Id, one: &Reservation<L>) {
        match one.stage {
            Stage::Open => {
                if one.forgotten_at() > one.end {
                    self.late.remove(&(one.forgotten_at(), id.clone()));
                }
                self.ends.remove(&(one.end, id));
            }
            Stage::Ended => {
                self.ended.remove(&(one.forgotten_at(), id));
            }
        }
    }

    /// The reservation at [`Stage::Open`] that ends first, and when. Its end may have passed.
    pub fn next_end(&self) -> Option<(Micros, &Id)> {
        self.ends.first().map(|((end, id), ())| (*end, id))
    }

    /// The open reservations that last at `now`, in the order of their ends.
    pub fn ending_after(&self, now: Micros) -> impl Iterator<Item = &Id> {
        self.ends.iter().skip_while(move |((end, _), ())| *end <= now).map(|((_, id), ())| id)
    }

    /// The ended reservation that is forgotten first, and when.
    pub fn next_forgotten(&self) -> Option<(Micros, &Id)> {
        self.ended.first().map(|((at, id), ())| (*at, id))
    }

    /// The number of ended reservations.
    pub fn ended(&self) -> usize {
        self.ended.len()
    }

    /// The moment at which the last reservation is forgotten.
    pub fn last(&self) -> Option<Micros> {
        let last = |times: &ByTime| times.last().map(|((at, _), ())| *at);
        [&self.ends, &self.ended, &self.late].into_iter().filter_map(last).max()
    }

    /// The approximate number of bytes that the value takes, itself included.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.ends.memory() + self.ended.memory() + self.late.memory()
    }
}
