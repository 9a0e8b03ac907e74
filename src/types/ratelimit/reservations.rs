//! The reservations of a key: how they change its usage, and how many there are
//! on this server.

use crate::core::reservations::{Book, EndMove, Id, Reservation};
use crate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use crate::core::time::Micros;
use crate::types::counting;
use crate::types::intern::LimitsRef;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One gauge, the open ones, and one count, those whose time has ended. Behind a
/// lock, since a background thread may free keys.
static SCHEDULE: Mutex<GaugeSchedule<1, 1>> = Mutex::new(GaugeSchedule::new());

/// What the end of one does.
const ENDS: GaugeStep<1, 1> = GaugeStep { gauges: [-1], counts: [1] };

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

/// A book whose open reservations are counted on the server. May be dropped on any
/// thread.
#[derive(Debug, Default)]
pub struct Reservations {
    book: Book<LimitsRef>,
    /// It only plays through what may come: nothing of it is counted.
    simulation: bool,
}

impl Reservations {
    /// The book.
    pub const fn book(&self) -> &Book<LimitsRef> {
        &self.book
    }

    /// Changes the book; `advance` comes first.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Book<LimitsRef>) -> R) -> R {
        self.change_counting(counting::ends(), change)
    }

    /// Adds one of a dump. Where it has ended, it ended before.
    pub(super) fn load(&mut self, id: Id, reservation: Reservation<LimitsRef>) {
        self.change_counting(false, |book| book.insert(id, reservation));
    }

    fn change_counting<R>(&mut self, counts: bool, change: impl FnOnce(&mut Book<LimitsRef>) -> R) -> R {
        let result = change(&mut self.book);
        let moves = self.book.take_end_moves();
        if self.simulation || moves.is_empty() {
            return result;
        }
        let mut schedule = schedule();
        for end_move in moves {
            match end_move {
                EndMove::Comes(end) => enter(&mut schedule, end, counts),
                EndMove::Goes(end) => leave(&mut schedule, end),
            }
        }
        result
    }

    /// An equal book to play through what may come, which is not counted.
    pub(super) fn simulation(&self) -> Self {
        Self { book: self.book.clone(), simulation: true }
    }

    /// Notes what has ended by `now`.
    pub(super) fn sweep(&mut self, now: Micros) {
        self.change(|book| book.sweep(now));
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
        let mut schedule = schedule();
        if !self.simulation {
            self.book.ends().for_each(|end| enter(&mut schedule, end, false));
        }
        Self { book: self.book.clone(), simulation: self.simulation }
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
