//! The reservations of a key with their accounts, and the number of reservations on this server.

use crate::core::limits::{HeldPlaces, Limit};
use crate::core::reservations::{Book, Id, LedgerPosition, ON_CREDIT_US, PlacesAsked, Reservation, Stage};
use crate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::counting;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::accounts::{Accounts, each_limit, has_ledger, places_of_few};
use crate::types::ratelimit::key_usage::KeyUsage;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One gauge for open reservations, and one count for those whose time has ended. The schedule is
/// behind a lock, because a background thread may free keys.
static SCHEDULE: Mutex<GaugeSchedule<1, 1>> = Mutex::new(GaugeSchedule::new());

/// The change at the end of one reservation.
const ENDS: GaugeStep<1, 1> = GaugeStep { gauges: [-1], counts: [1] };

/// The most reservations that one command notes as ended, and the most that it forgets. So no
/// command takes long, however many end together. No decision depends on what is noted already.
const A_COMMAND: usize = 64;

/// The number of reservations that are freed before other threads may have the lock.
const AT_ONCE: usize = 64;

fn schedule() -> MutexGuard<'static, GaugeSchedule<1, 1>> {
    SCHEDULE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Advances the gauges to `now`, and counts the reservations that have ended by then. Call it
/// before any change of reservations, so that each end is counted once, here.
pub(in crate::types) fn advance(now: Micros) {
    schedule().advance(now, counting::ends());
}

/// True if time will end some reservation on this server, or has ended one that is remembered.
pub(in crate::types) fn is_planned() -> bool {
    !schedule().is_empty()
}

/// The number of open reservations on this server, as of the last advance.
pub fn open() -> u64 {
    let [open] = schedule().gauges();
    open
}

/// The number of reservations on this server that time has ended since the module was loaded, as of
/// the last advance.
pub fn expired() -> u64 {
    let [expired] = schedule().counts();
    expired
}

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// At the units that were really used, 0 or more.
    At(u64),
    /// All units go back.
    Release,
}

/// A book of reservations, and their units and places on each limit. The server's gauges count the
/// open ones. It may be dropped on any thread.
#[derive(Debug, Default)]
pub struct Reservations {
    book: Book<LimitsRef>,
    /// The accounts of units. Places have accounts, too, if the book has many reservations.
    accounts: Accounts,
    /// True for a copy for forecasts, which no gauge or counter includes.
    simulation: bool,
}

const _: () = assert!(size_of::<Reservations>() <= 64);

impl Reservations {
    /// The book of the reservations.
    pub const fn book(&self) -> &Book<LimitsRef> {
        &self.book
    }

    /// The units and places of the reservations on each limit.
    pub const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The units and places of the reservations on each limit, for changing them.
    pub(super) const fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// The reservations as they are seen at `now`, if the clock may have stepped back since the
    /// last change.
    pub fn at(&self, main: MainThread, now: Micros) -> Cow<'_, Self> {
        if now >= self.book.seen() {
            return Cow::Borrowed(self);
        }
        let mut stepped = self.simulation();
        stepped.step_back(main, now);
        Cow::Owned(stepped)
    }

    /// The same as [`Accounts::held`], also after the clock stepped back.
    pub fn held(&self, main: MainThread, limit: &Limit, asked: PlacesAsked) -> HeldPlaces {
        if asked.now < self.book.seen() {
            return self.at(main, asked.now).held(main, limit, asked).after_step();
        }
        if self.book.is_few() {
            let few = self.book.iter().map(|(_, one)| one);
            return places_of_few(main, few, limit).held(limit, asked);
        }
        self.accounts.held(main, limit, asked)
    }

    /// Counts the places of one reservation, if the book has many.
    fn hold(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        if !self.book.is_few() {
            self.accounts.hold(main, one);
        }
    }

    /// Counts the places of all reservations anew.
    fn hold_all(&mut self, main: MainThread) {
        self.accounts.forget_places();
        if !self.book.is_few() {
            self.book.iter().for_each(|(_, one)| self.accounts.hold(main, one));
        }
    }

    /// Adds a reservation. It replaces one with the same ID. Call [`advance`] before, and stake its
    /// units afterwards.
    pub(super) fn insert(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>) {
        self.insert_counting(main, id, one, counting::ends());
    }

    /// Adds a reservation from a dump. If it has ended, it ended before the dump and is not
    /// counted.
    pub(super) fn load(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>) {
        self.insert_counting(main, id, one, false);
    }

    fn insert_counting(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>, counts: bool) {
        if let Some(before) = self.remove(main, &id) {
            self.accounts.forget(main, &before);
        }
        self.hold(main, &one);
        if one.stage == Stage::Open {
            self.gauge(|schedule| enter(schedule, one.end, counts));
        }
        self.with_book(main, |book| book.insert(id, one));
    }

    /// Removes a reservation. Its units must still be settled.
    pub(super) fn remove(&mut self, main: MainThread, id: &[u8]) -> Option<Reservation<LimitsRef>> {
        let one = self.with_book(main, |book| book.remove(id))?;
        self.closes(main, &one);
        Some(one)
    }

    /// Changes the book by an insertion or a removal. If the book had few reservations and has many
    /// now, or the other way round, the places are counted in the other way, too.
    fn with_book<R>(&mut self, main: MainThread, change: impl FnOnce(&mut Book<LimitsRef>) -> R) -> R {
        let before = self.book.is_few();
        let result = change(&mut self.book);
        if self.book.is_few() != before {
            self.hold_all(main);
        }
        result
    }

    /// Frees the places of an open reservation, and takes its end out of the gauges' schedule.
    fn closes(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        if one.stage == Stage::Open {
            if !self.book.is_few() {
                self.accounts.free(main, one);
            }
            self.gauge(|schedule| leave(schedule, one.end));
        }
    }

    /// Gives an open reservation another end.
    pub(in crate::types) fn renew(&mut self, main: MainThread, id: &[u8], now: Micros, end: Micros) {
        let Some(before) = self.book.get(id).filter(|one| one.stage == Stage::Open).cloned() else { return };
        self.closes(main, &before);
        self.book.renew(id, now, end);
        self.hold(main, &Reservation { end, ..before });
        self.gauge(|schedule| enter(schedule, end, counting::ends()));
    }

    /// Records the time, also when the clock stepped back. Notes which reservations have ended by
    /// `now`, and forgets those whose units are gone. If there are many, it handles some at a time.
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros, usage: KeyUsage<'_>) {
        self.note_time(main, now);
        for _ in 0..A_COMMAND {
            let Some(id) = self.book.next_forgotten(now) else { break };
            let until = self.book.get(&id).map_or(now, |one| self.in_use_until(main, usage, one, now));
            if until > now && !self.book.has_too_many() {
                self.book.remember(&id, until);
            } else if let Some(forgotten) = self.with_book(main, |book| book.remove(&id)) {
                self.accounts.forget(main, &forgotten);
            }
        }
    }

    /// The moment until which units of a reservation are in use, as its limits are now; `now` if none
    /// are. A limit may have become slower since the grant. Units on a credit stay in use. They count
    /// for as long as such a reservation is remembered.
    pub(super) fn in_use_until(
        &self,
        main: MainThread,
        usage: KeyUsage<'_>,
        one: &Reservation<LimitsRef>,
        now: Micros,
    ) -> Micros {
        let mut until = now;
        each_limit(main, one, |_, limit| {
            if !has_ledger(limit) {
                return;
            }
            let LedgerPosition { above, own } = self.accounts.position(main, limit, one.serial);
            // The units above its own are newer, so they leave later.
            if own > 0
                && let Some((limit, state)) = usage.of(limit)
                && limit.rule().used(state, now) > above
            {
                until = until.max(if limit.comes_back() {
                    limit.rule().falls_to(state, now, above)
                } else {
                    one.end.plus(ON_CREDIT_US)
                });
            }
        });
        until
    }

    /// Records the time, also when the clock stepped back, and notes which reservations have ended by
    /// `now`. If there are many, it handles some at a time.
    pub(super) fn note_time(&mut self, main: MainThread, now: Micros) {
        if now < self.book.seen() {
            self.step_back(main, now);
        }
        self.book.see(now);
        for _ in 0..A_COMMAND {
            let Some(ended) = self.book.note_ended(now) else { break };
            self.closes(main, &ended);
        }
    }

    fn step_back(&mut self, main: MainThread, now: Micros) {
        self.gauge_all(leave);
        self.book.step_back(now);
        self.gauge_all(|schedule, end| enter(schedule, end, counting::ends()));
        self.hold_all(main);
    }

    /// Changes the gauges for the end of each open reservation, unless this is a simulation.
    fn gauge_all(&self, change: impl Fn(&mut GaugeSchedule<1, 1>, Micros)) {
        self.gauge(|schedule| self.book.ends().for_each(|end| change(schedule, end)));
    }

    fn gauge(&self, change: impl FnOnce(&mut GaugeSchedule<1, 1>)) {
        if !self.simulation {
            change(&mut schedule());
        }
    }

    /// A copy for forecasts, which decides as the original does. No gauge or counter includes it.
    pub(super) fn simulation(&self) -> Self {
        Self { book: self.book.clone(), accounts: self.accounts.clone(), simulation: true }
    }

    /// Restores the latest time that the book had seen.
    pub(super) fn resume(&mut self, seen: Micros) {
        self.book.see(seen);
    }

    /// The bytes that the value holds.
    pub fn memory(&self) -> usize {
        size_of::<Self>() - size_of::<Book<LimitsRef>>() + self.book.memory() + self.accounts.memory()
    }
}

fn enter(schedule: &mut GaugeSchedule<1, 1>, end: Micros, counts: bool) {
    schedule.change([1], 1);
    schedule.plan(end, &ENDS, counts);
}

fn leave(schedule: &mut GaugeSchedule<1, 1>, end: Micros) {
    schedule.take_back(end, &ENDS);
    schedule.change([1], -1);
}

impl Clone for Reservations {
    fn clone(&self) -> Self {
        self.gauge_all(|schedule, end| enter(schedule, end, false));
        Self { book: self.book.clone(), accounts: self.accounts.clone(), simulation: self.simulation }
    }
}

impl Drop for Reservations {
    fn drop(&mut self) {
        if self.simulation {
            return;
        }
        let mut ends = self.book.ends().peekable();
        while ends.peek().is_some() {
            let mut schedule = schedule();
            ends.by_ref().take(AT_ONCE).for_each(|end| leave(&mut schedule, end));
        }
    }
}
