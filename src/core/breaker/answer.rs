//! What the state machine answers.

use crate::core::breaker::permit::Permit;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Calls are admitted and their results judged.
    Closed,
    /// Calls are denied until a deadline.
    Open,
    /// A few trial calls are admitted to find out whether it works again.
    HalfOpen,
    /// Denied by an operator.
    ForcedOpen,
    /// Admitted by an operator, whatever the results.
    ForcedClosed,
}

impl CircuitState {
    /// Their names, in their order.
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
    /// It worked.
    Ok,
    /// It failed.
    Fail,
    /// It says nothing about the other side (cancelled, caller's mistake).
    Ignore,
}

/// Why a circuit went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The trip's failures or failure rate was reached.
    Failures,
    /// The rate of slow calls was reached.
    SlowCalls,
    /// An opening's deadline passed and a call came.
    DeadlinePassed,
    /// Enough trial calls succeeded.
    TrialsSucceeded,
    /// Too many trial calls failed.
    TrialsFailed,
    /// Too many trial calls were slow.
    TrialsSlow,
    /// A trial call was never reported.
    TrialLost,
    /// An operator forced a state, or ended a force.
    Forced,
    /// The time of a force was over.
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
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// The epoch that began.
    pub epoch: u64,
    /// When it happened: earlier than the call that found it for a lost trial
    /// or a force that ended.
    pub at: Micros,
    /// Why.
    pub cause: Cause,
    /// Time alone did it: it would have happened without the call that found it.
    pub by_time: bool,
}

/// The transitions of one call, in order: none, one, or two (one found late,
/// such as a lost trial, and one that the call itself caused). No heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transitions {
    first: Option<Transition>,
    second: Option<Transition>,
    lost_trials: u8,
}

impl Transitions {
    /// Nothing happened.
    pub const NONE: Self = Self { first: None, second: None, lost_trials: 0 };

    /// No call makes more than two; a third would replace the second, so the
    /// last one always says where the circuit is now.
    pub(super) fn push(&mut self, transition: Transition) {
        if self.first.is_none() {
            self.first = Some(transition);
        } else {
            self.second = Some(transition);
        }
    }

    /// The last one would have happened without the call that found it.
    pub(super) const fn last_was_by_time(&mut self) {
        let last = if self.second.is_some() { &mut self.second } else { &mut self.first };
        if let Some(transition) = last {
            transition.by_time = true;
        }
    }

    /// A trial whose lease has ended was found.
    pub(super) fn lose_trial(&mut self) {
        self.lost_trials = self.lost_trials.saturating_add(1);
    }

    /// How many trials were found lost on the way, whether or not that led to
    /// a transition.
    pub const fn lost_trials(&self) -> u8 {
        self.lost_trials
    }

    /// In the order in which they happened.
    pub fn iter(&self) -> impl Iterator<Item = Transition> + use<> {
        self.first.into_iter().chain(self.second)
    }

    /// True when the state is what it was.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// The answer to a call that wants to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Whether it may.
    pub allowed: bool,
    /// The state after this call.
    pub state: CircuitState,
    /// To be handed back with the result; only when allowed.
    pub ticket: Option<Permit>,
    /// When to ask again, if not.
    pub retry: RetryAfter,
    /// Whether the breaker that the call brought is in force from now on.
    pub adopted: bool,
    /// Whether the circuit changed: only then is there anything to replicate.
    pub changed: bool,
    /// What happened on the way.
    pub transitions: Transitions,
}

/// The answer to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// False for a stale, late or repeated result: it changed nothing.
    pub applied: bool,
    /// The state after this result.
    pub state: CircuitState,
    /// Whether the breaker that holds for it opened, and so is in force from now
    /// on where another one was.
    pub adopted: bool,
    /// Whether the circuit changed. Can be true for a result that was not
    /// applied: it may find a trial that was lost, or a force that ended.
    pub changed: bool,
    /// What happened on the way.
    pub transitions: Transitions,
}

/// The answer to an operator, or to a changed breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTransition {
    /// The state after it.
    pub state: CircuitState,
    /// Whether the circuit changed.
    pub changed: bool,
    /// What happened on the way; a state replaced by the same state is none.
    pub transitions: Transitions,
}
