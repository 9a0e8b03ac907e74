//! A circuit as people see it. Looking changes nothing.

use super::answer::Transitions;
use super::circuit::{Circuit, Phase};
use super::spec::Breaker;
use crate::core::breaker::answer::CircuitState;
use crate::core::breaker::window::{CallTally, ReporterTally};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// A force in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The operator's reason; empty when none was given.
    pub reason: Box<[u8]>,
    /// When it ends; `None` for not by itself.
    pub until: Option<Micros>,
}

/// What CB.STATE tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// The state. Half-open as soon as an opening's deadline has passed, though
    /// only the next call makes it so.
    pub state: CircuitState,
    /// When the state began.
    pub since: Micros,
    /// When a call would be admitted.
    pub retry: RetryAfter,
    /// The window. While open, what is left in it of the calls that opened it.
    pub window: CallTally,
    /// Failures among the calls of the window, in hundredths of a percent.
    pub failure_hundredths: u16,
    /// Slow calls among those of the window, in hundredths of a percent.
    pub slow_hundredths: u16,
    /// How many different reporters the window knows.
    pub reporters: ReporterTally,
    /// Openings since the circuit was last closed.
    pub openings: u32,
    /// The epoch.
    pub epoch: u64,
    /// Trial calls that have no result yet.
    pub trials_in_flight: usize,
    /// The force in effect.
    pub forced: Option<Forced>,
    /// How long the next opening will last, in microseconds.
    pub next_open_us: u64,
}

impl Circuit {
    /// The circuit at `now`, with all that time has done by itself.
    pub fn view(&self, breaker: &Breaker, now: Micros) -> CircuitView {
        self.view_under(breaker, breaker, now)
    }

    /// The circuit at `now`, where `in_force` is in force, as somebody sees it who
    /// goes by `breaker`: its window, its verdict of a round, and when a call
    /// would be admitted under it.
    pub fn view_under(&self, in_force: &Breaker, breaker: &Breaker, now: Micros) -> CircuitView {
        let now = now.min(Micros::MAX);
        let mut circuit = self.clone();
        circuit.settle(in_force, now, &mut Transitions::default());
        circuit.settle_round(breaker, now, &mut Transitions::default());
        let (state, since) = match circuit.phase {
            Phase::Open { deadline } if now >= deadline => (CircuitState::HalfOpen, deadline),
            _ => (circuit.state(), circuit.since.min(now)),
        };
        let window = circuit.windows.tally(breaker, now);
        CircuitView {
            state,
            since,
            retry: circuit.peek_acquire_under(in_force, breaker, now).retry,
            window,
            failure_hundredths: window.hundredths(window.failures),
            slow_hundredths: window.hundredths(window.slow),
            reporters: circuit.windows.reporters(breaker, now),
            openings: circuit.openings,
            epoch: circuit.epoch,
            trials_in_flight: match &circuit.phase {
                Phase::HalfOpen(round) => round.in_flight.len(),
                _ => 0,
            },
            forced: circuit.hold().map(|hold| Forced { reason: hold.reason.clone(), until: hold.until }),
            next_open_us: breaker.open_time_us(circuit.openings.saturating_add(1)),
        }
    }
}
