//! The commands of circuit breakers, one file a command or a small family.

pub mod acquire;

pub mod operate;
pub mod report;

pub mod state;

use crate::core::breaker::CircuitState;
use crate::server::fast::shared_replies::Word;

/// A state as replies say it.
const fn word_of(state: CircuitState) -> Word {
    match state {
        CircuitState::Closed => Word::Closed,
        CircuitState::Open => Word::Open,
        CircuitState::HalfOpen => Word::HalfOpen,
        CircuitState::ForcedOpen => Word::ForcedOpen,
        CircuitState::ForcedClosed => Word::ForcedClosed,
    }
}
