//! The answers of a circuit's state machine.

use crate::core::breaker::permit::Permit;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Calls are admitted, and their results are judged.
    Closed,
    /// Calls are denied until a deadline.
    Open,
    /// A few trial calls are admitted to find out whether the other side works again.
    HalfOpen,
    /// An operator denies every call.
    ForcedOpen,
    /// An operator admits every call, whatever the results are.
    ForcedClosed,
}

impl CircuitState {
    /// The names of all states, in the order of the variants.
    pub const NAMES: [&'static str; 5] = [
        Self::Closed.name(),
        Self::Open.name(),
        Self::HalfOpen.name(),
        Self::ForcedOpen.name(),
        Self::ForcedClosed.name(),
    ];

    /// The name that replies and events use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportOutcome {
    /// The call succeeded.
    Ok,
    /// The call failed.
    Fail,
    /// The result says nothing about the other side: the call was cancelled, or the caller made a
    /// mistake.
    Ignore,
}

/// The reason for which a circuit went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The trip's number or rate of failures was reached.
    Failures,
    /// The rate of slow calls was reached.
    SlowCalls,
    /// A call came after the deadline of an opening.
    DeadlinePassed,
    /// Enough trial calls succeeded.
    TrialsSucceeded,
    /// Too many trial calls failed.
    TrialsFailed,
    /// Too many trial calls were slow.
    TrialsSlow,
    /// A trial call was not reported within its lease.
    TrialLost,
    /// An operator forced a state, or ended a force.
    Forced,
    /// A force reached its end.
    ForceEnded,
    /// An operator reset the circuit.
    Reset,
}

impl Cause {
    /// The name that events use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::SlowCalls => "slow-calls",
            Self::DeadlinePassed => "deadline-passed",
            Self::TrialsSucceeded => "trials-succeeded",
            Self::TrialsFailed => "trials-failed",
            Self::TrialsSlow => "trials-slow",
            Self::TrialLost => "trial-lost",
            Self::Forced => "forced",
            Self::ForceEnded => "force-ended",
            Self::Reset => "reset",
        }
    }
}

/// One step from a state to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state before the transition.
    pub from: CircuitState,
    /// The state after the transition.
    pub to: CircuitState,
    /// The number of the epoch that began.
    pub epoch: u64,
    /// The moment of the transition. A lost trial, or a force that ended, is found by a later call.
    pub at: Micros,
    /// The reason.
    pub cause: Cause,
    /// True if time alone caused it, so that it would have happened without the call that found it.
    pub by_time: bool,
}

/// The transitions of one call, in order. Nearly always there is none, and then they take no heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    list: Vec<Transition>,
    lost_trials: u8,
    /// The least number of an epoch that begins.
    pub(super) least_epoch: u64,
}

impl Transitions {
    /// No transition yet. An epoch that begins has at least this number.
    pub(super) const fn from_epoch(least_epoch: u64) -> Self {
        Self { list: Vec::new(), lost_trials: 0, least_epoch }
    }

    pub(super) fn push(&mut self, transition: Transition) {
        self.list.push(transition);
    }

    /// Marks the last transition as caused by time.
    pub(super) fn last_was_by_time(&mut self) {
        if let Some(last) = self.list.last_mut() {
            last.by_time = true;
        }
    }

    /// Counts a trial that was found lost.
    pub(super) fn lose_trial(&mut self) {
        self.lost_trials = self.lost_trials.saturating_add(1);
    }

    /// The number of trials that were found lost, whether or not that led to a transition.
    pub const fn lost_trials(&self) -> u8 {
        self.lost_trials
    }

    /// The transitions in the order in which they happened.
    pub fn list(&self) -> &[Transition] {
        &self.list
    }
}

impl From<Transitions> for Vec<Transition> {
    fn from(transitions: Transitions) -> Self {
        transitions.list
    }
}

/// The answer to a call that wants to go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// True if the call may go through.
    pub allowed: bool,
    /// The state after this call.
    pub state: CircuitState,
    /// The permit, which the caller sends back with the result. `None` for a denied call.
    pub permit: Option<Permit>,
    /// When to ask again, if the call is denied.
    pub retry: RetryAfter,
    /// True if the call puts its breaker in force: it was admitted, or its breaker opened.
    pub adopted: bool,
    /// True if the circuit changed. Otherwise there is nothing to replicate.
    pub changed: bool,
    /// The transitions that the call found or caused.
    pub transitions: Transitions,
}

/// The answer to a report of a call's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// False for a stale, late or repeated result, which counts nowhere.
    pub applied: bool,
    /// The state after this result.
    pub state: CircuitState,
    /// True if the breaker that holds for the result opened. That puts it in force.
    pub adopted: bool,
    /// True if the circuit changed. A result that was not applied can change it, too, when it finds
    /// a lost trial or a force that ended.
    pub changed: bool,
    /// The transitions that the report found or caused.
    pub transitions: Transitions,
}

/// The answer to an operator's command, or to a change of the breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateTransition {
    /// The state afterwards.
    pub state: CircuitState,
    /// True if the circuit changed.
    pub changed: bool,
    /// The transitions. There is none if a state was replaced by the same state.
    pub transitions: Transitions,
}
