//! How many circuits are in which state, for INFO.

use crate::core::breaker::State;
use std::sync::atomic::{AtomicU64, Ordering};

/// Atomic, since a background thread may free keys.
static CENSUS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// Every state, in the order of INFO.
pub const STATES: [State; 5] =
    [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::ForcedClosed];

fn of(state: State) -> &'static AtomicU64 {
    let [closed, open, half_open, forced_open, forced_closed] = &CENSUS;
    match state {
        State::Closed => closed,
        State::Open => open,
        State::HalfOpen => half_open,
        State::ForcedOpen => forced_open,
        State::ForcedClosed => forced_closed,
    }
}

/// How many circuits are in this state, as of the last change of each.
pub fn count(state: State) -> u64 {
    of(state).load(Ordering::Relaxed)
}

/// Counts one circuit for as long as it lives.
#[derive(Debug)]
pub struct Counted(State);

impl Counted {
    /// Counts one more in `state`.
    pub fn new(state: State) -> Self {
        of(state).fetch_add(1, Ordering::Relaxed);
        Self(state)
    }

    /// It is in `state` now.
    pub fn set(&mut self, state: State) {
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
