//! The keys of circuits that are not closed, each with the time since which it is not.

use crate::core::breaker::CircuitState;
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::name_index::NameIndex;

/// The keys of open, half-open and forced circuits.
pub static NOT_CLOSED: NameIndex = NameIndex::new();

/// Notes that the circuit of this key has come into a state.
pub fn became(main: MainThread, database: i32, name: &[u8], state: CircuitState, at: Micros) {
    if state == CircuitState::Closed {
        NOT_CLOSED.forget(main, database, name);
    } else {
        NOT_CLOSED.note(main, database, name, at);
    }
}
