//! Epochs that never repeat, even after a key was deleted or an older copy of it came back: an epoch
//! begins after every epoch that this server has seen on any key.

use crate::core::time::Micros;
use crate::server::main_thread::{MainThread, MainThreadCell};

static LAST: MainThreadCell<u64> = MainThreadCell::new(0);

/// The largest step from one epoch to the next that is plausible. Epochs follow the clock, or one
/// another by one. An epoch that leaps farther comes from a forged payload and is ignored.
const LEAP: u64 = 1 << 32;

/// The least number of the next epoch. The circuit also takes the time into account.
pub fn next(main: MainThread) -> u64 {
    LAST.of(main).borrow().saturating_add(1)
}

/// Remembers an epoch that is in use.
pub fn learn(main: MainThread, epoch: u64) {
    let mut last = LAST.of(main).borrow_mut();
    if epoch > *last && epoch <= Micros::MAX.0.max(*last).saturating_add(LEAP) {
        *last = epoch;
    }
}
