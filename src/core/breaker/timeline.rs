//! What time alone will do to a circuit.

use super::answer::{CircuitState, Transitions};
use super::circuit::Circuit;
use super::phase::Phase;
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
    /// Lists the steps that time alone will cause, in their order.
    pub fn timeline(&self, breaker: &Breaker) -> Vec<TimedStep> {
        let mut steps = Vec::new();
        if self.state() == CircuitState::Closed {
            return steps;
        }
        let mut circuit = self.clone();
        while steps.len() < MOST_STEPS
            && let Some(at) = circuit.next_end()
        {
            let mut transitions = Transitions::default();
            circuit.advance(breaker, at, &mut transitions);
            steps.push(TimedStep {
                at,
                state: circuit.state(),
                lost_trials: transitions.lost_trials(),
                enters: transitions.list().last().map(|transition| transition.to),
            });
        }
        if let Phase::Open { deadline: at } = circuit.phase {
            steps.push(TimedStep { at, state: CircuitState::HalfOpen, lost_trials: 0, enters: None });
        }
        steps
    }
}
