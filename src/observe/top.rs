//! The keys that are granted and denied most, in all and lately.

use crate::core::stats::heavy_hitters::{HeavyHitter, TopK};
use crate::core::time::Micros;
use crate::observe::key_mask;
use crate::server::main_thread::{MainThread, MainThreadCell};

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Something was granted.
    Granted,
    /// Nothing was granted.
    Denied,
}

impl RequestOutcome {
    /// The outcome of a request that was granted something, or nothing.
    #[inline]
    pub const fn of(is_granted: bool) -> Self {
        if is_granted { Self::Granted } else { Self::Denied }
    }
}

static GRANTED: MainThreadCell<TopK> = MainThreadCell::new(TopK::new(UNSEEDED));
static DENIED: MainThreadCell<TopK> = MainThreadCell::new(TopK::new(UNSEEDED));

/// The seed until the first decision. Then it is random.
const UNSEEDED: usize = 0;

const fn cell(outcome: RequestOutcome) -> &'static MainThreadCell<TopK> {
    match outcome {
        RequestOutcome::Granted => &GRANTED,
        RequestOutcome::Denied => &DENIED,
    }
}

/// Counts a decision on a key.
#[inline]
pub fn decided(main: MainThread, key: &[u8], outcome: RequestOutcome, now: Micros) {
    let mut busiest = cell(outcome).of(main).borrow_mut();
    if busiest.seed() == UNSEEDED {
        begin(&mut busiest);
    }
    busiest.record(key, now);
}

#[cold]
fn begin(busiest: &mut TopK) {
    busiest.set_seed(key_mask::seed() | 1);
}

/// The busiest keys that are remembered, the busiest first. Their names are not masked.
pub fn list(main: MainThread, outcome: RequestOutcome, now: Micros) -> Vec<HeavyHitter> {
    cell(outcome).of(main).borrow_mut().list(now)
}
