//! Reservations: units taken now and settled later, places held until then.
//!
//! A reservation is open until it is settled or its time ends. An ended one
//! stands committed at its cost and frees its places; it is remembered until
//! its units have left the limits, so that a late report can still correct
//! them. Nothing needs a timer: who looks at `now` sees what has ended by then.

mod ordered;

use crate::core::limits::{HeldPlaces, Limit, LimitMask};
use crate::core::time::Micros;
use ordered::Ordered;
use std::sync::Arc;

/// The longest id in bytes.
pub const MAX_ID: usize = 128;
/// The most ended reservations that one key remembers; beyond, the one that
/// would be forgotten soonest goes.
pub const MAX_ENDED: usize = 10_000;

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
    /// When its time ends.
    pub end: Micros,
    /// When its units have left every limit.
    pub left_by: Micros,
    /// The limits that it was granted by.
    pub limits: L,
    /// Those of them that were charged (a denying shadow limit is not).
    pub charged: LimitMask,
    /// Open, or ended and noted as such.
    pub stage: Stage,
}

impl<L> Reservation<L> {
    /// How far it is at `now`, noted or not; `None` when it is forgotten.
    pub fn stage_at(&self, now: Micros) -> Option<Stage> {
        match self.stage {
            Stage::Open if now < self.end => Some(Stage::Open),
            Stage::Open | Stage::Ended if now < self.forgotten_at() => Some(Stage::Ended),
            Stage::Open | Stage::Ended => None,
        }
    }

    fn forgotten_at(&self) -> Micros {
        self.end.max(self.left_by)
    }
}

/// Ids in the order of a time.
type Times = Ordered<(Micros, Id), ()>;

/// What became of an open reservation, told by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndMove {
    /// One that ends then is open now.
    Comes(Micros),
    /// One that would have ended then, or did, is open no more.
    Goes(Micros),
}

/// The reservations of a key.
#[derive(Clone, Debug)]
pub struct Book<L> {
    all: Ordered<Id, Reservation<L>>,
    /// Open ones by their end.
    ends: Times,
    /// Ended ones by when they are forgotten.
    ended: Times,
    /// All by when they are forgotten at the latest.
    lasts: Times,
    /// How many open ones each set of limits has.
    groups: Vec<(L, u64)>,
    /// What became of open ones since somebody asked.
    end_moves: Vec<EndMove>,
}

impl<L> Default for Book<L> {
    fn default() -> Self {
        Self {
            all: Ordered::default(),
            ends: Ordered::default(),
            ended: Ordered::default(),
            lasts: Ordered::default(),
            groups: Vec::new(),
            end_moves: Vec::new(),
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

    /// How many are open, those included whose end nobody has noted.
    pub fn open_len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The ends of those, in that order.
    pub fn ends(&self) -> impl Iterator<Item = Micros> {
        self.ends.iter().map(|((end, _), ())| *end)
    }

    /// What became of open ones since this was last asked, in that order: for who
    /// counts the open ones of many books.
    pub fn take_end_moves(&mut self) -> Vec<EndMove> {
        std::mem::take(&mut self.end_moves)
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
        self.lasts.iter().next_back().map_or(Micros::default(), |((at, _), ())| *at)
    }

    /// Adds one, in place of another with this id.
    pub fn insert(&mut self, id: Id, reservation: Reservation<L>) {
        self.remove(&id);
        match reservation.stage {
            Stage::Open => {
                self.ends.insert((reservation.end, id.clone()), ());
                self.end_moves.push(EndMove::Comes(reservation.end));
                self.count(&reservation.limits, true);
            }
            Stage::Ended => {
                self.ended.insert((reservation.forgotten_at(), id.clone()), ());
            }
        }
        self.lasts.insert((reservation.forgotten_at(), id.clone()), ());
        self.all.insert(id, reservation);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &[u8]) -> Option<Reservation<L>> {
        let (id, reservation) = self.all.remove(id)?;
        self.lasts.remove(&(reservation.forgotten_at(), id.clone()));
        match reservation.stage {
            Stage::Open => {
                self.ends.remove(&(reservation.end, id));
                self.end_moves.push(EndMove::Goes(reservation.end));
                self.count(&reservation.limits, false);
            }
            Stage::Ended => {
                self.ended.remove(&(reservation.forgotten_at(), id));
            }
        }
        Some(reservation)
    }

    /// Gives an open one another end. O(log n).
    pub fn renew(&mut self, id: &[u8], end: Micros) {
        let Some(id) = self.all.get(id).map(|(id, _)| id.clone()) else { return };
        let Some(reservation) = self.all.get_mut(&*id) else { return };
        if reservation.stage == Stage::Ended {
            return;
        }
        let (old_end, old_last) = (reservation.end, reservation.forgotten_at());
        reservation.end = end;
        let last = reservation.forgotten_at();
        self.ends.remove(&(old_end, id.clone()));
        self.ends.insert((end, id.clone()), ());
        self.end_moves.extend([EndMove::Goes(old_end), EndMove::Comes(end)]);
        self.lasts.remove(&(old_last, id.clone()));
        self.lasts.insert((last, id), ());
    }

    /// Notes which have ended by `now`, and forgets those whose units are gone.
    /// Returns how many ended.
    pub fn sweep(&mut self, now: Micros) -> u64 {
        let mut count = 0;
        while let Some((end, id)) = self.ends.iter().next().map(|(first, ())| first.clone()) {
            if end > now {
                break;
            }
            if let Some(reservation) = self.remove(&id) {
                self.insert(id, Reservation { stage: Stage::Ended, ..reservation });
            }
            count += 1;
        }
        while let Some((at, id)) = self.ended.iter().next().map(|(first, ())| first.clone()) {
            if at > now && self.ended.len() <= MAX_ENDED {
                break;
            }
            self.remove(&id);
        }
        count
    }

    /// The places held at `now` on a `concurrent` limit, as its decision needs
    /// them. `counts` says whether reservations under such limits hold a place;
    /// one taken now would end at `next`.
    pub fn held(&self, limit: &Limit, now: Micros, next: Micros, counts: impl Fn(&L) -> bool) -> HeldPlaces {
        let ends = || self.ends.iter().map(|(entry, ())| entry);
        let holds = |(_, id): &&(Micros, Id)| self.get(id).is_some_and(|one| counts(&one.limits));
        let noted: u64 = self.groups.iter().filter(|(limits, _)| counts(limits)).map(|(_, n)| n).sum();
        // Those that have ended since somebody noted it.
        let unnoted = ends().take_while(|(end, _)| *end <= now).filter(holds).count() as u64;
        let used = noted.saturating_sub(unnoted);
        let usable = limit.capacity().map_or(0, |capacity| limit.keep().usable(capacity));
        // A request of one place may ask when so many more of them have ended.
        let wanted = usize::try_from(used.saturating_add(1).saturating_sub(usable)).unwrap_or(usize::MAX);
        let lasting = ends().skip_while(|(end, _)| *end <= now);
        let earliest = lasting.filter(holds).take(wanted).map(|(end, _)| *end).collect();
        let latest = ends().rev().find(holds).map_or(now, |(end, _)| *end);
        HeldPlaces::new(used, earliest, latest.max(now), next)
    }

    fn count(&mut self, limits: &L, up: bool) {
        match self.groups.iter().position(|(known, _)| known == limits) {
            Some(at) if up => {
                if let Some((_, n)) = self.groups.get_mut(at) {
                    *n += 1;
                }
            }
            Some(at) => {
                if let Some((_, n)) = self.groups.get_mut(at) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        self.groups.swap_remove(at);
                    }
                }
            }
            None if up => self.groups.push((limits.clone(), 1)),
            None => {}
        }
    }

    /// About how many bytes it holds.
    pub fn memory(&self) -> usize {
        let id = |id: &Id| id.len() + 2 * size_of::<usize>();
        size_of::<Self>()
            + self.all.memory()
            + self.ends.memory()
            + self.ended.memory()
            + self.lasts.memory()
            + self.all.iter().map(|(name, _)| id(name)).sum::<usize>()
            + self.groups.capacity() * size_of::<(L, u64)>()
    }
}
