//! A circuit as people see it. Nothing here changes it.

use super::answer::Transitions;
use super::circuit::Circuit;
use super::phase::Phase;
use super::spec::Breaker;
use crate::core::breaker::answer::CircuitState;
use crate::core::breaker::window::{CallTally, ReporterTally};
use crate::core::retry_after::RetryAfter;
use crate::core::text::percent::Percent;
use crate::core::time::Micros;

/// A force in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The operator's reason; empty if none was given.
    pub reason: Box<[u8]>,
    /// The end of the force; `None` if the force does not end by itself.
    pub until: Option<Micros>,
}

/// The circuit as CB.STATE shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// The state. It is half-open as soon as an opening's deadline has passed, although only the
    /// next call makes it so.
    pub state: CircuitState,
    /// When the state began.
    pub since: Micros,
    /// When a call would be admitted.
    pub retry: RetryAfter,
    /// The calls in the window. While open, what is left there of the calls that opened it.
    pub window: CallTally,
    /// The share of the window's calls that failed.
    pub failure_rate: Percent,
    /// The share of the window's calls that were slow.
    pub slow_rate: Percent,
    /// The number of different reporters in the window.
    pub reporters: ReporterTally,
    /// The number of openings since the circuit was last closed.
    pub openings: u32,
    /// The number of the current epoch.
    pub epoch: u64,
    /// The number of trial calls that have no result yet.
    pub trials_in_flight: usize,
    /// The force in effect.
    pub forced: Option<Forced>,
    /// The length of the next opening in microseconds.
    pub next_open_us: u64,
}

impl Circuit {
    /// The circuit at `now`, with all that time alone has done.
    pub fn view(&self, breaker: &Breaker, now: Micros) -> CircuitView {
        self.view_under(breaker, breaker, now)
    }

    /// The circuit at `now`, as a caller with `breaker` sees it while `in_force` is in force: the
    /// window of its kind, its verdict of a round, and when it would admit a call.
    pub fn view_under(&self, in_force: &Breaker, breaker: &Breaker, now: Micros) -> CircuitView {
        let now = now.min(Micros::MAX);
        let mut circuit = self.clone();
        circuit.advance(in_force, now, &mut Transitions::default());
        circuit.advance_round(breaker, now, &mut Transitions::default());
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
            failure_rate: Percent::of(window.failures, window.calls),
            slow_rate: Percent::of(window.slow, window.calls),
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
