//! What is counted, where the feature `opentelemetry` is on. The names are those of the
//! packages for Python and Node.

use crate::breaker::Outcome;
use crate::decision::Decision;

#[cfg(feature = "opentelemetry")]
mod counters;
#[cfg(not(feature = "opentelemetry"))]
#[path = "telemetry/silence.rs"]
mod counters;

pub(crate) use counters::{called, decided};

/// What a limit answered.
#[derive(Clone, Copy)]
pub(crate) enum DecisionOutcome {
    Granted,
    Denied,
    /// Denied from memory.
    Remembered,
    /// Granted out of a block.
    Leased,
    Charged,
    /// The fallback decided.
    Fallback,
}

impl DecisionOutcome {
    /// Of what Redis has decided.
    pub(crate) fn of(decision: &Decision) -> Self {
        if decision.is_granted() { Self::Granted } else { Self::Denied }
    }
}

/// What came of a call behind a breaker.
#[derive(Clone, Copy)]
pub(crate) enum CallOutcome {
    Ok,
    Fail,
    Ignore,
    /// It was not made.
    Open,
    /// The cache had its answer.
    #[cfg(feature = "guard")]
    Cached,
}

impl From<Outcome> for CallOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Fail => Self::Fail,
            Outcome::Ignore => Self::Ignore,
        }
    }
}
