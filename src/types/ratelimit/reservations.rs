//! The reservations of a key: how they change its usage, and how many there are
//! on this server.

use crate::core::limits::{HeldPlaces, Limit};
use crate::core::reservations::{Book, Id, Reservation, Stage};
use crate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::counting;
use crate::types::intern::LimitsRef;
use crate::types::ratelimit::accounts::Accounts;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One gauge, the open ones, and one count, those whose time has ended. Behind a
/// lock, since a background thread may free keys.
static SCHEDULE: Mutex<GaugeSchedule<1, 1>> = Mutex::new(GaugeSchedule::new());

/// What the end of one does.
const ENDS: GaugeStep<1, 1> = GaugeStep { gauges: [-1], counts: [1] };

/// The most reservations that one command notes as ended, and the most that it
/// forgets: however many end together, no command takes long. Nothing depends on what
/// is noted already.
const A_COMMAND: usize = 64;

/// So many are freed before others may have the lock.
const AT_ONCE: usize = 64;

fn schedule() -> MutexGuard<'static, GaugeSchedule<1, 1>> {
    SCHEDULE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It is `now`: what has ended by then is counted. Before any change of reservations,
/// so that each end is counted once, here.
pub(in crate::types) fn advance(now: Micros) {
    schedule().advance(now, counting::ends());
}

/// How many reservations are open on this server, as of the last advance.
pub fn open() -> u64 {
    let [open] = schedule().gauges();
    open
}

/// How many reservations have ended by time on this server since the module was
/// loaded, as of the last advance.
pub fn expired() -> u64 {
    let [expired] = schedule().counts();
    expired
}

/// How a reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// At what was really used, 0 and more.
    At(u64),
    /// Everything goes back.
    Release,
}

/// A book whose open reservations are counted on the server, with what they have on each
/// limit. May be dropped on any thread.
#[derive(Debug, Default)]
pub struct Reservations {
    book: Book<LimitsRef>,
    accounts: Accounts,
    /// It only plays through what may come: nothing of it is counted.
    simulation: bool,
}

impl Reservations {
    /// The book.
    pub const fn book(&self) -> &Book<LimitsRef> {
        &self.book
    }

    /// What they have on each limit.
    pub const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What they have on each limit, to change it.
    pub(super) const fn accounts_mut(&mut self) -> &mut Accounts {
        &mut self.accounts
    }

    /// As it is seen at `now`, where the clock may have stepped back since the last change.
    pub fn at(&self, main: MainThread, now: Micros) -> Cow<'_, Self> {
        if now >= self.book.seen() {
            return Cow::Borrowed(self);
        }
        let mut stepped = self.simulation();
        stepped.step_back(main, now);
        Cow::Owned(stepped)
    }

    /// The places held on a `concurrent` limit, for a request of so many; one taken now
    /// would be held until `next`.
    pub fn held(
        &self,
        main: MainThread,
        limit: &Limit,
        now: Micros,
        next: Micros,
        demand: u64,
    ) -> HeldPlaces {
        if now >= self.book.seen() {
            return self.accounts.held(main, limit, now, next, demand);
        }
        self.at(main, now).accounts.held(main, limit, now, next, demand).after_step()
    }

    /// Adds one, in place of another with this id; `advance` comes first. Its units are
    /// staked apart.
    pub(super) fn insert(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>) {
        self.insert_counting(main, id, one, counting::ends());
    }

    /// Adds one of a dump. Where it has ended, it ended before.
    pub(super) fn load(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>) {
        self.insert_counting(main, id, one, false);
    }

    fn insert_counting(&mut self, main: MainThread, id: Id, one: Reservation<LimitsRef>, counts: bool) {
        if let Some(before) = self.remove(main, &id) {
            self.accounts.forget(main, &before);
        }
        self.accounts.hold(main, &one);
        if one.stage == Stage::Open {
            self.gauge(|schedule| enter(schedule, one.end, counts));
        }
        self.book.insert(id, one);
    }

    /// Takes one out. What it has of units is still to be settled.
    pub(super) fn remove(&mut self, main: MainThread, id: &[u8]) -> Option<Reservation<LimitsRef>> {
        let one = self.book.remove(id)?;
        self.closes(main, &one);
        Some(one)
    }

    /// One is open no more, if it was.
    fn closes(&mut self, main: MainThread, one: &Reservation<LimitsRef>) {
        if one.stage == Stage::Open {
            self.accounts.free(main, one);
            self.gauge(|schedule| leave(schedule, one.end));
        }
    }

    /// Gives an open one another end.
    pub(in crate::types) fn renew(&mut self, main: MainThread, id: &[u8], now: Micros, end: Micros) {
        let Some(before) = self.book.get(id).filter(|one| one.stage == Stage::Open).cloned() else { return };
        self.closes(main, &before);
        self.book.renew(id, now, end);
        self.accounts.hold(main, &Reservation { end, ..before });
        self.gauge(|schedule| enter(schedule, end, counting::ends()));
    }

    /// Records the time, a clock that stepped back too. Notes which have ended by `now`
    /// and forgets those whose units are gone, some of them where there are many.
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros) {
        if now < self.book.seen() {
            self.step_back(main, now);
        }
        self.book.see(now);
        for _ in 0..A_COMMAND {
            let Some(ended) = self.book.note_ended(now) else { break };
            self.closes(main, &ended);
        }
        for _ in 0..A_COMMAND {
            let Some(forgotten) = self.book.forget(now) else { break };
            self.accounts.forget(main, &forgotten);
        }
    }

    fn step_back(&mut self, main: MainThread, now: Micros) {
        self.book.iter().for_each(|(_, one)| self.accounts.free(main, one));
        self.gauge_all(leave);
        self.book.step_back(now);
        self.gauge_all(|schedule, end| enter(schedule, end, counting::ends()));
        self.book.iter().for_each(|(_, one)| self.accounts.hold(main, one));
    }

    /// Changes the gauges by the end of each open one, where this one is counted.
    fn gauge_all(&self, change: impl Fn(&mut GaugeSchedule<1, 1>, Micros)) {
        self.gauge(|schedule| self.book.ends().for_each(|end| change(schedule, end)));
    }

    fn gauge(&self, change: impl FnOnce(&mut GaugeSchedule<1, 1>)) {
        if !self.simulation {
            change(&mut schedule());
        }
    }

    /// An equal one to play through what may come, which is not counted.
    pub(super) fn simulation(&self) -> Self {
        Self { book: self.book.clone(), accounts: self.accounts.clone(), simulation: true }
    }

    /// It has seen a time, as it was stored.
    pub(super) fn resume(&mut self, seen: Micros) {
        self.book.see(seen);
    }

    /// Bytes it holds.
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
