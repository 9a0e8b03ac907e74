//! The times of many reservations: which one ends next, and which one is forgotten next.

use super::reservation::{Id, Reservation, Stage};
use super::summed::Summed;
use crate::core::time::Micros;

/// Reservation IDs, sorted by a time.
type ByTime = Summed<(Micros, Id), ()>;

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
    /// The lists in which a reservation stands, each with its time there.
    fn lists<L>(&mut self, one: &Reservation<L>) -> impl Iterator<Item = (&mut ByTime, Micros)> {
        let forgotten = one.forgotten_at();
        let (list, second) = match one.stage {
            Stage::Open => ((&mut self.ends, one.end), (forgotten > one.end).then_some(&mut self.late)),
            Stage::Ended => ((&mut self.ended, forgotten), None),
        };
        [list].into_iter().chain(second.map(|late| (late, forgotten)))
    }

    /// Adds a reservation.
    pub fn place<L>(&mut self, id: &Id, one: &Reservation<L>) {
        self.lists(one).for_each(|(list, at)| list.insert((at, id.clone()), ()));
    }

    /// Removes a reservation. `one` is as it was when it was added.
    pub fn displace<L>(&mut self, id: &Id, one: &Reservation<L>) {
        self.lists(one).for_each(|(list, at)| drop(list.remove(&(at, id.clone()))));
    }

    /// The reservation at [`Stage::Open`] that ends first, and when. Its end may have passed.
    pub fn next_end(&self) -> Option<(Micros, &Id)> {
        self.ends.first().map(|((end, id), ())| (*end, id))
    }

    /// The open reservations that last at `now`, in the order of their ends.
    pub fn ending_after(&self, now: Micros) -> impl Iterator<Item = &Id> {
        self.ends.entries().skip_while(move |((end, _), ())| *end <= now).map(|((_, id), ())| id)
    }

    /// The ended reservation that is forgotten first, and when.
    pub fn next_forgotten(&self) -> Option<(Micros, &Id)> {
        self.ended.first().map(|((at, id), ())| (*at, id))
    }

    /// The number of ended reservations.
    pub fn ended(&self) -> usize {
        self.ended.count()
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
