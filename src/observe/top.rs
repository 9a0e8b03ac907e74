//! The keys that are granted and denied most, ever and lately.

use crate::core::stats::heavy_hitters::{Busiest, Spell};
use crate::core::time::Micros;
use crate::observe::key_mask;
use crate::server::fast::prefetch::prefetch;
use crate::server::main_thread::{MainThread, MainThreadCell};

/// Which decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was granted.
    Granted,
    /// Nothing was.
    Denied,
}

static GRANTED: MainThreadCell<Busiest> = MainThreadCell::new(Busiest::new(UNSEEDED));
static DENIED: MainThreadCell<Busiest> = MainThreadCell::new(Busiest::new(UNSEEDED));

/// Until the first decision; then it is random.
const UNSEEDED: usize = 0;

const fn cell(outcome: Outcome) -> &'static MainThreadCell<Busiest> {
    match outcome {
        Outcome::Granted => &GRANTED,
        Outcome::Denied => &DENIED,
    }
}

/// Counts a decision on a key.
#[inline]
pub fn count(main: MainThread, key: &[u8], outcome: Outcome, now: Micros) {
    let mut busiest = cell(outcome).of(main).borrow_mut();
    if busiest.seed() == UNSEEDED {
        begin(&mut busiest);
    }
    if let Some(set) = busiest.count(key, now) {
        prefetch(set);
    }
}

#[cold]
fn begin(busiest: &mut Busiest) {
    busiest.set_seed(key_mask::seed() | 1);
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
    let mut busiest = cell(outcome).of(main).borrow_mut();
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
}
