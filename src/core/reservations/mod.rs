//! Reservations: units that are taken now and settled later, and places that are held until then.
//!
//! A reservation is open until it is settled or its time ends. One that has ended stands committed
//! at its cost, and its places are free. It is remembered until its units have left the limits, or
//! for a day if it took from a credit, so that a late report can still correct it. No timer is
//! needed: every function that gets `now` takes into account what has ended by then.
//!
//! | file | what it knows |
//! |---|---|
//! | this one | which reservations there are and when they end |
//! | `reservation.rs` | one reservation: its times, its stage and what it took |
//! | `times.rs` | which of many reservations ends next, and which is forgotten next |
//! | `ledger.rs` | which units of one limit belong to which reservation |
//! | `places.rs` | how many places are held on one limit, and until when |
//! | `summed` | the map that these are made of |

mod ledger;
mod places;
mod reservation;
mod summed;
mod times;

pub use ledger::{Ledger, LedgerPosition, Remembered, Stake};
pub use places::{Places, PlacesAsked};
pub use reservation::{Id, Leaving, ON_CREDIT_US, Reservation, Stage};
pub(crate) use summed::{Summed, Weighted};

use crate::core::time::Micros;
use times::Times;

/// The longest ID in bytes.
pub const MAX_ID: usize = 128;
/// The most ended reservations that one key remembers. Beyond it, the one that would be forgotten
/// soonest is dropped.
pub const MAX_ENDED: usize = 10_000;

/// The most reservations that are few: looking at each is as quick as a search by time.
const FEW: usize = 8;
/// Many reservations are few again from this number on. It is half of [`FEW`], so that a book whose
/// size moves around one number does not sort them by time again and again.
const FEW_AGAIN: usize = FEW / 2;

/// The reservations of a key.
#[derive(Clone, Debug)]
pub struct Book<L> {
    all: Summed<Id, Reservation<L>>,
    /// The times of many reservations. `None` while there are few: a look at each is as quick.
    times: Option<Box<Times>>,
    /// The latest time that the book has seen.
    seen: Micros,
    /// The serial number of the next reservation.
    serial: u64,
}

impl<L> Default for Book<L> {
    fn default() -> Self {
        Self { all: Summed::default(), times: None, seen: Micros::default(), serial: 0 }
    }
}

impl<L: Clone + PartialEq> Book<L> {
    /// True if no reservation is remembered.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of reservations that are remembered.
    pub fn len(&self) -> usize {
        self.all.count()
    }

    /// True while the book holds so few reservations that a look at each is as quick as a search.
    pub const fn is_few(&self) -> bool {
        self.times.is_none()
    }

    /// The ends of the open reservations in the order of their IDs. Those that have ended but are
    /// not recorded as such are included.
    pub fn ends(&self) -> impl Iterator<Item = Micros> {
        self.iter().filter(|(_, one)| one.stage == Stage::Open).map(|(_, one)| one.end)
    }

    /// All reservations with their IDs, in the order of the IDs.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Reservation<L>)> {
        self.all.entries().map(|(id, one)| (id, one))
    }

    /// The reservations that are open at `now`, in the order of their ends.
    pub fn open_at(&self, now: Micros) -> Vec<(&Id, &Reservation<L>)> {
        if let Some(times) = &self.times {
            return times.ending_after(now).filter_map(|id| Some((id, self.get(id)?))).collect();
        }
        let lasts = |(_, one): &(&Id, &Reservation<L>)| one.stage_at(now) == Some(Stage::Open);
        let mut open: Vec<_> = self.iter().filter(lasts).collect();
        open.sort_by_key(|(id, one)| (one.end, *id));
        open
    }

    /// The reservation with this ID.
    pub fn get(&self, id: &[u8]) -> Option<&Reservation<L>> {
        self.all.get(id).map(|(_, reservation)| reservation)
    }

    /// The time at which the last reservation is forgotten. The epoch if there is none.
    pub fn lasts_until(&self) -> Micros {
        let last = match &self.times {
            Some(times) => times.last(),
            None => self.iter().map(|(_, one)| one.forgotten_at()).max(),
        };
        last.unwrap_or_default()
    }

    /// The latest time that the book has seen. If `now` is earlier, the clock has stepped back.
    pub const fn seen(&self) -> Micros {
        self.seen
    }

    /// Records that the book sees this time.
    pub fn see(&mut self, now: Micros) {
        self.seen = self.seen.max(now);
    }

    /// The serial number of the next reservation.
    pub const fn next_serial(&self) -> u64 {
        self.serial
    }

    /// Adds a reservation. No other may have this ID.
    pub fn insert(&mut self, id: Id, reservation: Reservation<L>) {
        self.serial = self.serial.max(reservation.serial.saturating_add(1));
        if let Some(times) = &mut self.times {
            times.place(&id, &reservation);
        }
        self.all.insert(id, reservation);
        if self.times.is_none() && self.len() > FEW {
            let mut times = Times::default();
            self.iter().for_each(|(id, one)| times.place(id, one));
            self.times = Some(Box::new(times));
        }
    }

    /// Removes a reservation.
    pub fn remove(&mut self, id: &[u8]) -> Option<Reservation<L>> {
        let (id, reservation) = self.all.remove(id)?;
        if self.len() <= FEW_AGAIN {
            self.times = None;
        } else if let Some(times) = &mut self.times {
            times.displace(&id, &reservation);
        }
        Some(reservation)
    }

    /// Changes one, and returns it as it was.
    fn change(&mut self, id: &Id, change: impl FnOnce(&mut Reservation<L>)) -> Option<Reservation<L>> {
        let one = self.all.get_mut(&**id)?;
        let before = one.clone();
        change(one);
        if let Some(times) = &mut self.times {
            times.displace(id, &before);
            times.place(id, one);
        }
        Some(before)
    }

    /// Gives an open reservation another end, as of `now`. Takes O(log n).
    pub fn renew(&mut self, id: &[u8], now: Micros, end: Micros) {
        let open = self.all.get(id).filter(|(_, one)| one.stage == Stage::Open);
        if let Some(id) = open.map(|(id, _)| id.clone()) {
            self.change(&id, |one| (one.since, one.end) = (now, end));
        }
    }

    /// Records the end of the next reservation that has ended by `now`. Returns it as it was
    /// before.
    pub fn note_ended(&mut self, now: Micros) -> Option<Reservation<L>> {
        let (end, id) = match &self.times {
            Some(times) => times.next_end(),
            None => self.first(Stage::Open, |one| one.end),
        }?;
        if end > now {
            return None;
        }
        self.change(&id.clone(), |one| one.stage = Stage::Ended)
    }

    /// The next reservation that is to be forgotten by `now`, or that is one too many.
    pub fn next_forgotten(&self, now: Micros) -> Option<Id> {
        let (at, id) = match &self.times {
            Some(times) => times.next_forgotten(),
            None => self.first(Stage::Ended, Reservation::forgotten_at),
        }?;
        (at <= now || self.has_too_many()).then(|| id.clone())
    }

    /// True if more ended reservations are remembered than may be.
    pub fn has_too_many(&self) -> bool {
        self.times.as_ref().is_some_and(|times| times.ended() > MAX_ENDED)
    }

    /// Remembers a reservation until this moment or longer, because units of it are in use until then.
    pub fn remember(&mut self, id: &Id, until: Micros) {
        self.change(id, |one| one.left_by = one.left_by.max(until.min(Micros::MAX)));
    }

    /// Returns the first of the reservations at this stage, by a time and then by the ID.
    fn first(&self, stage: Stage, time: impl Fn(&Reservation<L>) -> Micros) -> Option<(Micros, &Id)> {
        self.iter().filter(|(_, one)| one.stage == stage).map(|(id, one)| (time(one), id)).min()
    }

    /// Corrects all reservations after the clock stepped back to `now`. Those that are open end at
    /// most their own length after it. Takes O(n).
    pub fn step_back(&mut self, now: Micros) {
        let before = std::mem::take(self);
        for (id, one) in before.iter() {
            let mut one = one.clone();
            one.step_back(before.seen, now);
            self.insert(id.clone(), one);
        }
        self.serial = before.serial;
        self.seen = now;
    }

    /// The approximate number of bytes that the book holds.
    pub fn memory(&self) -> usize {
        let id = |id: &Id| id.len() + 2 * size_of::<usize>();
        size_of::<Self>()
            + self.all.memory()
            + self.times.as_ref().map_or(0, |times| times.memory())
            + self.iter().map(|(name, one)| id(name) + one.heap_bytes()).sum::<usize>()
    }
}
