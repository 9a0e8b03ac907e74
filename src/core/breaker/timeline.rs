//! What time alone will do to a circuit.

use super::answer::{CircuitState, Transitions};
use super::circuit::{Circuit, Phase};
use super::spec::Breaker;
use crate::core::time::Micros;

/// The largest number of steps. No round has more trials than this to lose.
const MOST_STEPS: usize = 512;

/// Something that happens to a circuit at a moment, without any call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedStep {
    /// The moment.
    pub at: Micros,
    /// The state from then on, as [`Circuit::view`] shows it.
    pub state: CircuitState,
    /// The number of trials that are lost.
    pub lost_trials: u8,
    /// The state that the circuit enters, if it does. An opening past its deadline is shown as
    /// half-open, but only a call makes it so.
    pub enters: Option<CircuitState>,
}

impl Circuit {
    /// What time alone will do, in that order.
    pub fn timeline(&self, breaker: &Breaker) -> Vec<TimedStep> {
        let mut steps = Vec::new();
        if self.state() == CircuitState::Closed {
            return steps;
        }
        let mut circuit = self.clone();
        while steps.len() < MOST_STEPS {
            let end = match &circuit.phase {
                Phase::Closed { .. } => None,
                Phase::Open { deadline } => {
                    let (at, state) = (*deadline, CircuitState::HalfOpen);
                    steps.push(TimedStep { at, state, lost_trials: 0, enters: None });
                    None
                }
                Phase::HalfOpen(round) => round.earliest_lease(),
                Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => hold.until,
            };
            let Some(at) = end else { break };
            let mut transitions = Transitions::default();
            circuit.advance(breaker, at, &mut transitions);
            steps.push(TimedStep {
                at,
                state: circuit.state(),
                lost_trials: transitions.lost_trials(),
                enters: transitions.list().last().map(|transition| transition.to),
            });
        }
        steps
    }
}
