//! The names of circuits that are not closed, as far as they are known.
//!
//! Noted where a circuit comes into such a state, on masters and replicas, and
//! when a key is loaded. A key that was deleted or renamed since is still
//! among them: whoever asks looks at the key itself.

use crate::core::breaker::CircuitState;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::collections::BTreeSet;

/// So many names are remembered; of more such circuits some are missing.
pub const MOST: usize = 1000;

/// A key of a database.
pub type NamedCircuit = (i32, Box<[u8]>);

static NOT_CLOSED: MainThreadCell<BTreeSet<NamedCircuit>> = MainThreadCell::new(BTreeSet::new());

/// The circuit of this key of this database has come into a state.
pub fn became(main: MainThread, database: i32, name: &[u8], state: CircuitState) {
    let mut names = NOT_CLOSED.of(main).borrow_mut();
    if state == CircuitState::Closed {
        if !names.is_empty() {
            names.remove(&(database, name.into()));
        }
    } else if names.len() < MOST {
        names.insert((database, name.into()));
    }
}

/// Asks `is_one` of each, and forgets those of which it is not true.
pub fn retain(main: MainThread, mut is_one: impl FnMut(&NamedCircuit) -> bool) {
    // Taken out: looking at a key may make it expire, and that is heard of.
    let mut names = std::mem::take(&mut *NOT_CLOSED.of(main).borrow_mut());
    names.retain(|place| is_one(place));
    NOT_CLOSED.of(main).borrow_mut().append(&mut names);
}

/// Whether there is no room for another.
pub fn is_full(main: MainThread) -> bool {
    NOT_CLOSED.of(main).borrow().len() >= MOST
}
