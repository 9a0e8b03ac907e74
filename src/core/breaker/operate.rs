//! Changes by an operator's word: a force, a reset, another breaker.

use super::answer::{Cause, StateTransition, Transitions};
use super::circuit::{Circuit, same};
use super::moment::Moment;
use super::phase::{ForcedState, Phase, REASON_BYTES};
use super::ramp::Ramp;
use super::spec::Breaker;
use super::window::CallWindows;
use crate::core::text::duration::LONGEST;
use crate::core::time::Micros;

/// The order of an operator about a force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// Deny every call.
    Open,
    /// Admit every call.
    Closed,
    /// End the force.
    Auto,
}

impl Circuit {
    /// Forces a state by an operator's word, until `until`, or for good if that is `None`.
    /// [`Force::Auto`] ends a force; without a force it does nothing.
    pub fn force(
        &mut self,
        breaker: &Breaker,
        at: impl Into<Moment>,
        force: Force,
        until: Option<Micros>,
        reason: &[u8],
    ) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        let settled = self.advance(breaker, now, &mut transitions);
        let hold = || {
            let until = until.map(|until| until.clamp(now, now.plus(LONGEST)));
            Box::new(ForcedState { until, reason: reason.get(..REASON_BYTES).unwrap_or(reason).into() })
        };
        let phase = match force {
            Force::Open => Some(Phase::ForcedOpen(hold())),
            Force::Closed => Some(Phase::ForcedClosed(hold())),
            Force::Auto => self.hold().is_some().then_some(Phase::Closed { ramp: None }),
        };
        let changed = settled || phase.is_some();
        if let Some(phase) = phase {
            self.start_afresh();
            self.enter(phase, now, Cause::Forced, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// Resets the circuit by an operator's word: closed, with an empty window and without a force.
    pub fn reset(&mut self, breaker: &Breaker, at: impl Into<Moment>) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        self.advance(breaker, now, &mut transitions);
        self.start_afresh();
        self.enter(Phase::Closed { ramp: None }, now, Cause::Reset, &mut transitions);
        StateTransition { state: self.state(), changed: true, transitions }
    }

    /// Puts `new` in force, whatever the state: by an operator's word, or because a policy says so.
    /// The circuit keeps its epoch, state, deadline and results.
    ///
    /// A half-open round goes on with its trials. If `new` makes their verdict certain, it is given
    /// now. A closed circuit is judged by the next call, if `new` judges differently.
    pub fn change_breaker(&mut self, old: &Breaker, new: &Breaker, at: impl Into<Moment>) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        let mut changed = self.advance(old, now, &mut transitions);
        if !same(old, new) {
            changed = true;
            let unjudged = self.unjudged || !old.judges_like(new);
            self.adopt(old, new);
            self.unjudged = unjudged;
            self.advance(new, now, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// [`Circuit::change_breaker`] as version 0.1 did it, for effects that 0.1 wrote. Another trip
    /// forgets the results, and another ramp begins with half a call.
    pub fn change_breaker_0_1(&mut self, old: &Breaker, new: &Breaker, now: Micros) -> StateTransition {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        let mut changed = self.advance(old, now, &mut transitions);
        if !same(old, new) {
            changed = true;
            if old.trip() == new.trip() {
                self.windows.bring(new);
            } else {
                self.windows = CallWindows::new(new);
            }
            if let Phase::Closed { ramp: Some(ramp) } = &mut self.phase
                && old.ramp_us() != new.ramp_us()
            {
                **ramp = Ramp::new(new.ramp_us());
            }
            self.advance(new, now, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }
}
