//! A state of a circuit together with what only this state remembers.

use super::answer::CircuitState;
use super::ramp::Ramp;
use super::round::Round;
use crate::core::time::Micros;

/// The most bytes of the reason of a force. CB.FORCE and its effect refuse a longer one.
pub const REASON_BYTES: usize = 256;

/// A force in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForcedState {
    /// The end of the force; `None` if only an operator ends it.
    pub until: Option<Micros>,
    /// The operator's reason.
    pub reason: Box<[u8]>,
}

/// A state together with the data that only this state has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed {
        /// The ramp, while it lasts.
        ramp: Option<Box<Ramp>>,
    },
    Open {
        /// A call at this moment or later is a trial.
        deadline: Micros,
    },
    HalfOpen(Box<Round>),
    ForcedOpen(Box<ForcedState>),
    ForcedClosed(Box<ForcedState>),
}

impl Phase {
    pub(super) const fn state(&self) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open { .. } => CircuitState::Open,
            Self::HalfOpen(_) => CircuitState::HalfOpen,
            Self::ForcedOpen(_) => CircuitState::ForcedOpen,
            Self::ForcedClosed(_) => CircuitState::ForcedClosed,
        }
    }
}
