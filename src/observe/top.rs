//! The keys that are granted and denied most, ever and lately.

use super::names;
use crate::core::busiest::{Busiest, Spell};
use crate::core::clock::Micros;
use crate::server::main_thread::{MainThread, MainThreadCell};

/// Which decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was granted.
    Granted,
    /// Nothing was.
    Denied,
}

static GRANTED: MainThreadCell<Option<Busiest>> = MainThreadCell::new(None);
static DENIED: MainThreadCell<Option<Busiest>> = MainThreadCell::new(None);

const fn cell(outcome: Outcome) -> &'static MainThreadCell<Option<Busiest>> {
    match outcome {
        Outcome::Granted => &GRANTED,
        Outcome::Denied => &DENIED,
    }
}

/// Counts a decision on a key.
#[inline]
pub fn count(main: MainThread, key: &[u8], outcome: Outcome, now: Micros) {
    let mut busiest = cell(outcome).of(main).borrow_mut();
    match &mut *busiest {
        Some(busiest) => busiest.count(key, now),
        none => begin(none, key, now),
    }
}

#[cold]
fn begin(none: &mut Option<Busiest>, key: &[u8], now: Micros) {
    none.insert(Busiest::new(names::seed())).count(key, now);
}

/// Counts a decision on a key by what it granted.
#[inline]
pub fn decided(main: MainThread, key: &[u8], granted: bool, now: Micros) {
    count(main, key, if granted { Outcome::Granted } else { Outcome::Denied }, now);
}

/// A busy key.
#[derive(Clone, Debug)]
pub struct Busy {
    /// Its name, unmasked.
    pub name: Vec<u8>,
    /// At most so many decisions since the module was loaded.
    pub count: u64,
    /// By so many the count may be too high.
    pub error: u64,
    /// What of it happened lately.
    pub spell: Option<Spell>,
}

/// All that are remembered, the busiest first.
pub fn list(main: MainThread, outcome: Outcome, now: Micros) -> Vec<Busy> {
    let busiest = cell(outcome).of(main).borrow();
    busiest.as_ref().map_or_else(Vec::new, |busiest| {
        busiest
            .list(now)
            .into_iter()
            .map(|busy| Busy {
                name: busy.name.to_vec(),
                count: busy.count,
                error: busy.error,
                spell: busy.spell,
            })
            .collect()
    })
}
