//! The reservations of a key: how they change its usage, and how many there are
//! on this server.

use crate::core::reservations::Book;
use crate::core::time::Micros;
use crate::types::intern::LimitsRef;
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
    simulation: bool,
}

impl Reservations {
    /// The book.
    pub const fn book(&self) -> &Book<LimitsRef> {
        &self.book
    }

    /// Changes the book.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Book<LimitsRef>) -> R) -> R {
        let result = change(&mut self.book);
        if self.simulation {
            return result;
        }
        let open = self.book.open_len();
        OPEN.fetch_add(open.wrapping_sub(self.counted), Ordering::Relaxed);
        self.counted = open;
        result
    }
}

impl Reservations {
    /// Takes this book out of all counts: it only plays through what may come.
    pub(super) fn leave_uncounted(&mut self) {
        OPEN.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
        self.simulation = true;
    }

    /// Notes what has ended by `now`.
    pub(super) fn sweep(&mut self, now: Micros) {
        let ended = self.change(|book| book.sweep(now));
        if !self.simulation {
            EXPIRED.fetch_add(ended, Ordering::Relaxed);
        }
    }
}

impl Clone for Reservations {
    fn clone(&self) -> Self {
        let mut copy = Self { book: self.book.clone(), counted: 0, simulation: false };
        copy.change(|_| ());
        copy
    }
}

impl Drop for Reservations {
    fn drop(&mut self) {
        OPEN.fetch_sub(self.counted, Ordering::Relaxed);
    }
}
