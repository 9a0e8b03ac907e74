//! How many circuits are in which state, for INFO.

use crate::core::breaker::CircuitState;
use std::sync::atomic::{AtomicU64, Ordering};

/// Atomic, since a background thread may free keys.
static CENSUS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// Every state, in the order of INFO.
pub const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::ForcedOpen,
    CircuitState::ForcedClosed,
];

fn of(state: CircuitState) -> &'static AtomicU64 {
    let [closed, open, half_open, forced_open, forced_closed] = &CENSUS;
    match state {
        CircuitState::Closed => closed,
        CircuitState::Open => open,
        CircuitState::HalfOpen => half_open,
        CircuitState::ForcedOpen => forced_open,
        CircuitState::ForcedClosed => forced_closed,
    }
}

/// How many circuits are in this state, as of the last change of each.
pub fn count(state: CircuitState) -> u64 {
    of(state).load(Ordering::Relaxed)
}

/// Counts one circuit for as long as it lives.
#[derive(Debug)]
pub struct Counted(CircuitState);

impl Counted {
    /// Counts one more in `state`.
    pub fn new(state: CircuitState) -> Self {
        of(state).fetch_add(1, Ordering::Relaxed);
        Self(state)
    }

    /// It is in `state` now.
    pub fn set(&mut self, state: CircuitState) {
        if self.0 != state {
            *self = Self::new(state);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        of(self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}
