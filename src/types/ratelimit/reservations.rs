//! The reservations of a key: how they change its usage, and how many there are
//! on this server.

use crate::core::limits::{Limit, LimitSet, Rule, State, Taken, charge, give_back_from, left_by};
use crate::core::reservations::{Book, Id, Reservation, Stage};
use crate::core::time::Micros;
use crate::server::keys::tagged_box::Packed;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::RateLimit;
use crate::types::ratelimit::layout::Full;
use std::sync::atomic::{AtomicU64, Ordering};

/// Open reservations on this server, those included whose end nobody has noticed.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// How many reservations are open on this server.
pub fn open() -> u64 {
    OPEN.load(Ordering::Relaxed)
}

/// Reservations on this server whose time has ended, since the module was loaded.
static EXPIRED: AtomicU64 = AtomicU64::new(0);

/// How many reservations have ended by time on this server.
pub fn expired() -> u64 {
    EXPIRED.load(Ordering::Relaxed)
}

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// At what was really used, 0 and more.
    At(u64),
    /// Everything goes back.
    Release,
}

/// A book that is counted among the open ones of the server. May be dropped on
/// any thread.
#[derive(Debug, Default)]
pub struct Reservations {
    book: Book<LimitsRef>,
    counted: u64,
    /// It only plays through what may come: nothing of it is counted.
    rehearsal: bool,
}

impl Reservations {
    /// The book.
    pub const fn book(&self) -> &Book<LimitsRef> {
        &self.book
    }

    /// Changes the book.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Book<LimitsRef>) -> R) -> R {
        let result = change(&mut self.book);
        if self.rehearsal {
            return result;
        }
        let open = self.book.open_len();
        OPEN.fetch_add(open.wrapping_sub(self.counted), Ordering::Relaxed);
        self.counted = open;
        result
    }
}

impl Clone for Reservations {
    fn clone(&self) -> Self {
        let mut copy = Self { book: self.book.clone(), counted: 0, rehearsal: false };
        copy.change(|_| ());
        copy
    }
}

impl Drop for Reservations {
    fn drop(&mut self) {
        OPEN.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl RateLimit {
    /// An equal value to play through what may come.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let mut full = self.to_full();
        if let Some(reservations) = &mut full.reservations {
            OPEN.fetch_sub(reservations.counted, Ordering::Relaxed);
            reservations.counted = 0;
            reservations.rehearsal = true;
        }
        Self(Packed::third(Box::new(full)))
    }

    /// The reservations of the key, if it has any.
    pub fn book(&self) -> Option<&Book<LimitsRef>> {
        Some(self.as_full()?.reservations.as_ref()?.book()).filter(|book| !book.is_empty())
    }
}

/// Says in `states` how many places are held on each `concurrent` limit. A
/// reservation taken now would end at `next`.
pub fn hold(
    main: MainThread,
    value: Option<&RateLimit>,
    limits: &[Limit],
    states: &mut [State],
    now: Micros,
    next: Micros,
) {
    let empty = Book::default();
    let book = value.and_then(RateLimit::book).unwrap_or(&empty);
    for (limit, state) in limits.iter().zip(states) {
        if matches!(limit.rule(), Rule::Concurrent(_)) {
            let counts =
                |others: &LimitsRef| others.get(main).limits().iter().any(|other| other.same_identity(limit));
            *state = State::Concurrent(book.held(limit, now, next, counts));
        }
    }
}

impl Full {
    /// Notes what has ended by `now`.
    pub(in crate::types) fn sweep(&mut self, now: Micros) {
        if let Some(reservations) = &mut self.reservations {
            let ended = reservations.change(|book| book.sweep(now));
            let ended = if reservations.rehearsal { 0 } else { ended };
            EXPIRED.fetch_add(ended, Ordering::Relaxed);
        }
    }

    /// Remembers a reservation that took `taken` from the key's limits.
    pub(in crate::types) fn reserve(
        &mut self,
        main: MainThread,
        now: Micros,
        id: &[u8],
        cost: u64,
        end: Micros,
        taken: &Taken,
    ) {
        let Some(limits) = self.limits.clone() else { return };
        let set = limits.get(main);
        // A forged effect may name more limits than there are; units for those
        // are not taken, so nothing is charged there either.
        let units = taken.as_array().iter().take(set.limits().len()).enumerate();
        let charged: LimitSet = units.filter(|(_, units)| **units > 0).map(|(at, _)| at).collect();
        let charged_limits = set.limits().iter().enumerate().filter(|(at, _)| charged.contains(*at));
        let leaves =
            charged_limits.map(|(_, limit)| left_by(limit, now)).max().unwrap_or(now).min(Micros::MAX);
        drop(set);
        let reservation =
            Reservation { cost, granted: now, end, left_by: leaves, limits, charged, stage: Stage::Open };
        self.reservations.get_or_insert_default().change(|book| {
            book.insert(Id::from(id), reservation);
        });
        self.sweep(now);
    }

    /// Settles a reservation: what was reserved too much goes back, what was
    /// used beyond is charged.
    pub(in crate::types) fn settle(&mut self, main: MainThread, now: Micros, id: &[u8], how: Settlement) {
        let taken_out = self.reservations.as_mut().and_then(|all| all.change(|book| book.remove(id)));
        self.sweep(now);
        let Some(reservation) = taken_out else { return };
        let set = reservation.limits.get(main);
        for limit in reservation.charged.iter().filter_map(|at| set.limits().get(at)) {
            let reserved = if limit.per_call() { 1 } else { reservation.cost };
            let used = match how {
                Settlement::Release => 0,
                Settlement::At(_) if limit.per_call() => 1,
                Settlement::At(units) => units,
            };
            self.with_usage(main, limit, |rule, state| {
                if used > reserved {
                    charge(rule, state, now, used - reserved);
                } else if used < reserved {
                    give_back_from(rule, state, now, reservation.granted, reserved - used);
                }
            });
        }
    }

    /// Changes the usage of the limit with this identity, listed now or set aside.
    fn with_usage(&mut self, main: MainThread, limit: &Limit, change: impl FnOnce(&Limit, &mut State)) {
        if let Some(listed) = &self.limits {
            let set = listed.get(main);
            let mut all = set.limits().iter().zip(&mut self.states);
            if let Some((rule, state)) = all.find(|(rule, _)| rule.same_identity(limit)) {
                change(rule, state);
                return;
            }
        }
        if let Some(orphan) = self.orphans.iter_mut().find(|orphan| orphan.limit.same_identity(limit)) {
            change(&orphan.limit, &mut orphan.state);
        }
    }
}
