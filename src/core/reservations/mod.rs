//! Reservations: units taken now and settled later, places held until then.
//!
//! A reservation is open until it is settled or its time ends. An ended one
//! stands committed at its cost and frees its places; it is remembered until
//! its units have left the limits, or on a credit for a day, so that a late report
//! can still correct them. Nothing needs a timer: who looks at `now` sees what has ended by then.
//!
//! | file | what it knows |
//! |---|---|
//! | here | which reservations there are and when they end |
//! | `ledger.rs` | whose units are whose, on one limit |
//! | `places.rs` | how many places are held on one limit, and until when |
//! | `summed.rs`, `ordered.rs` | the maps that these are made of |

mod ledger;
mod ordered;
mod places;
mod summed;

pub use ledger::{Ledger, Remembered, Stake, Standing};
pub(crate) use ordered::Ordered;
pub use places::Places;

use crate::core::limits::{Charge, LimitMask, Taken};
use crate::core::text::duration::DAY;
use crate::core::time::Micros;
use std::sync::Arc;

/// The longest id in bytes.
pub const MAX_ID: usize = 128;
/// The most ended reservations that one key remembers; beyond, the one that
/// would be forgotten soonest goes.
pub const MAX_ENDED: usize = 10_000;
/// How long an ended one is remembered that took from a credit, in microseconds.
pub const ON_CREDIT_US: u64 = DAY;

/// What a reservation is known by.
pub type Id = Arc<[u8]>;

/// How far a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not settled, and its time lasts.
    Open,
    /// Its time has ended: it stands committed at its cost.
    Ended,
}

/// One reservation of one key. `L` is how the key refers to limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation<L> {
    /// Units reserved.
    pub cost: u64,
    /// When.
    pub granted: Micros,
    /// Since when its time runs: its grant or its last renewal.
    pub since: Micros,
    /// When its time ends.
    pub end: Micros,
    /// When its units have left every limit that they leave by themselves.
    pub left_by: Micros,
    /// How long it is remembered after its end at the least, in microseconds.
    pub remembered_us: u64,
    /// Greater than that of every reservation of the key that was granted before.
    pub serial: u64,
    /// The limits that it was granted by.
    pub limits: L,
    /// Those of them that were charged (a denying shadow limit is not).
    pub charged: LimitMask,
    /// What each of them took, where some shadow limit could not give the whole cost.
    pub less: Option<Box<Taken>>,
    /// Open, or ended and noted as such.
    pub stage: Stage,
}

impl<L> Reservation<L> {
    /// What it took from the limit at `at`, one of those charged.
    pub fn taken(&self, at: usize, charge: Charge) -> u64 {
        match (&self.less, charge) {
            (Some(taken), _) => taken.units(at),
            (None, Charge::Call) => 1,
            (None, Charge::Cost) => self.cost,
        }
    }

    /// How far it is at `now`, noted or not; `None` when it is forgotten.
    pub fn stage_at(&self, now: Micros) -> Option<Stage> {
        match self.stage {
            Stage::Open if now < self.end => Some(Stage::Open),
            Stage::Open | Stage::Ended if now < self.forgotten_at() => Some(Stage::Ended),
            Stage::Open | Stage::Ended => None,
        }
    }

    fn heap_bytes(&self) -> usize {
        if self.less.is_some() { size_of::<Taken>() } else { 0 }
    }

    fn forgotten_at(&self) -> Micros {
        self.end.plus(self.remembered_us).max(self.left_by)
    }

    /// The clock stepped back to `now`; the key had seen `seen`. What began after now
    /// begins now and lasts as long; what had ended stays so.
    fn step_back(&mut self, seen: Micros, now: Micros) {
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

/// Ids in the order of a time.
type Times = Ordered<(Micros, Id), ()>;

/// The reservations of a key.
#[derive(Clone, Debug)]
pub struct Book<L> {
    all: Ordered<Id, Reservation<L>>,
    /// Open ones by their end.
    ends: Times,
    /// Ended ones by when they are forgotten.
    ended: Times,
    /// Open ones that are remembered for longer than their time, by when they are
    /// forgotten.
    late: Times,
    /// The latest time that it has seen.
    seen: Micros,
    /// The number that the next reservation gets.
    serial: u64,
}

impl<L> Default for Book<L> {
    fn default() -> Self {
        Self {
            all: Ordered::default(),
            ends: Ordered::default(),
            ended: Ordered::default(),
            late: Ordered::default(),
            seen: Micros::default(),
            serial: 0,
        }
    }
}

impl<L: Clone + PartialEq> Book<L> {
    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The ends of the open ones, those included whose end nobody has noted, in order.
    pub fn ends(&self) -> impl Iterator<Item = Micros> {
        self.ends.iter().map(|((end, _), ())| *end)
    }

    /// Each with its id, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &Reservation<L>)> {
        self.all.iter()
    }

    /// The open ones at `now` in the order of their ends.
    pub fn open_at(&self, now: Micros) -> impl Iterator<Item = (&Id, &Reservation<L>)> {
        let lasting = self.ends.iter().skip_while(move |((end, _), ())| *end <= now);
        lasting.filter_map(|((_, id), ())| self.all.get(&**id))
    }

    /// The one with this id.
    pub fn get(&self, id: &[u8]) -> Option<&Reservation<L>> {
        self.all.get(id).map(|(_, reservation)| reservation)
    }

    /// When the last of them is forgotten; the epoch when there are none.
    pub fn lasts_until(&self) -> Micros {
        let lasts = [&self.ends, &self.ended, &self.late];
        let last = |times: &Times| times.last().map(|((at, _), ())| *at);
        lasts.into_iter().filter_map(last).max().unwrap_or_default()
    }

    /// The latest time that it has seen: at an earlier one the clock has stepped back.
    pub const fn seen(&self) -> Micros {
        self.seen
    }

    /// It sees a time.
    pub fn see(&mut self, now: Micros) {
        self.seen = self.seen.max(now);
    }

    /// The number of the next reservation.
    pub const fn next_serial(&self) -> u64 {
        self.serial
    }

    /// Adds one, of which there is none with this id.
    pub fn insert(&mut self, id: Id, reservation: Reservation<L>) {
        self.serial = self.serial.max(reservation.serial.saturating_add(1));
        self.place(&id, &reservation);
        self.all.insert(id, reservation);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &[u8]) -> Option<Reservation<L>> {
        let (id, reservation) = self.all.remove(id)?;
        self.displace(id, &reservation);
        Some(reservation)
    }

    fn place(&mut self, id: &Id, one: &Reservation<L>) {
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

    fn displace(&mut self, id: Id, one: &Reservation<L>) {
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

    /// Gives an open one another end, as of `now`. O(log n).
    pub fn renew(&mut self, id: &[u8], now: Micros, end: Micros) {
        let Some((id, before)) = self.all.get(id).map(|(id, one)| (id.clone(), one.clone())) else { return };
        if before.stage == Stage::Ended {
            return;
        }
        self.displace(id.clone(), &before);
        let renewed = Reservation { since: now, end, ..before };
        self.place(&id, &renewed);
        self.all.insert(id, renewed);
    }

    /// Notes the next one that has ended by `now`, and returns it as it was.
    pub fn note_ended(&mut self, now: Micros) -> Option<Reservation<L>> {
        let (end, id) = self.ends.first().map(|(first, ())| first.clone())?;
        if end > now {
            return None;
        }
        let before = self.remove(&id)?;
        self.insert(id, Reservation { stage: Stage::Ended, ..before.clone() });
        Some(before)
    }

    /// Forgets the next one whose units are gone by `now`, or that is one too many,
    /// and returns it.
    pub fn forget(&mut self, now: Micros) -> Option<Reservation<L>> {
        let (at, id) = self.ended.first().map(|(first, ())| first.clone())?;
        if at > now && self.ended.len() <= MAX_ENDED {
            return None;
        }
        self.remove(&id)
    }

    /// The clock stepped back to `now`: what lasts ends at most its own length after
    /// it. Goes through all.
    pub fn step_back(&mut self, now: Micros) {
        let before = std::mem::take(self);
        for (id, one) in before.all.iter() {
            let mut one = one.clone();
            one.step_back(before.seen, now);
            self.insert(id.clone(), one);
        }
        self.serial = before.serial;
        self.seen = now;
    }

    /// About how many bytes it holds.
    pub fn memory(&self) -> usize {
        let id = |id: &Id| id.len() + 2 * size_of::<usize>();
        size_of::<Self>()
            + self.all.memory()
            + self.ends.memory()
            + self.ended.memory()
            + self.late.memory()
            + self.all.iter().map(|(name, one)| id(name) + one.heap_bytes()).sum::<usize>()
    }
}
