//! The counters of the feature `opentelemetry`. They have the names of those in the packages for Python
//! and Node.

use crate::breaker::Outcome;
use crate::decision::Decision;

#[cfg(feature = "opentelemetry")]
mod counters;
#[cfg(not(feature = "opentelemetry"))]
#[path = "telemetry/silence.rs"]
mod counters;

pub(crate) use counters::{called, decided};

/// The answer of a limit.
#[derive(Clone, Copy)]
pub(crate) enum DecisionOutcome {
    Granted,
    Denied,
    /// The memory of denials denied the request.
    Remembered,
    /// The units came out of a block of a lease.
    Leased,
    Charged,
    /// The fallback decided.
    Fallback,
}

impl DecisionOutcome {
    /// The outcome of a decision by Redis.
    pub(crate) fn of(decision: &Decision) -> Self {
        if decision.is_granted() { Self::Granted } else { Self::Denied }
    }
}

/// The outcome of a call behind a breaker.
#[derive(Clone, Copy)]
pub(crate) enum CallOutcome {
    Ok,
    Fail,
    Ignore,
    /// The call was not made.
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
