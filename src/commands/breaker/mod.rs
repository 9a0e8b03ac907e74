//! The commands of circuit breakers, one file a command or a small family.

pub mod acquire;

pub mod operate;
pub mod report;

pub mod state;

use crate::core::breaker::State;
use crate::server::fast::shared_replies::Word;

/// A state as replies say it.
const fn word_of(state: State) -> Word {
    match state {
        State::Closed => Word::Closed,
        State::Open => Word::Open,
        State::HalfOpen => Word::HalfOpen,
        State::ForcedOpen => Word::ForcedOpen,
        State::ForcedClosed => Word::ForcedClosed,
    }
}
