//! The native type `cbcircuit`: what one key of a circuit breaker remembers.
//!
//! Its size is fixed for a given breaker, whatever happens to it; the breaker
//! itself is shared between keys.

pub mod encoding;
pub mod epochs;
mod native;
pub mod not_closed;
pub mod rules;
pub mod state_counts;

use crate::core::breaker::{Breaker, Circuit, CircuitState, CircuitView};
use crate::core::time::Micros;
use crate::types::until::Until;
use rules::BreakerRef;
use state_counts::Counted;

/// A breaker that an operator fixed for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerPin {
    /// The breaker.
    pub rule: BreakerRef,
    /// When the pin ends.
    pub until: Until,
}

/// What a key remembers.
#[derive(Debug)]
pub struct CbCircuit(pub(in crate::types) Box<Contents>);

/// What the key's pointer points to.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(in crate::types) circuit: Circuit,
    /// The breaker that the circuit goes by.
    pub(in crate::types) rule: BreakerRef,
    /// The one last given in a call.
    pub(in crate::types) given: Option<BreakerRef>,
    pub(in crate::types) pin: Option<Box<BreakerPin>>,
    pub(in crate::types) counted: Counted,
}

impl CbCircuit {
    /// A closed circuit whose epochs start at `now` or `first_epoch`.
    pub fn new(rule: BreakerRef, now: Micros, first_epoch: u64) -> Self {
        let circuit = Circuit::new(rule.breaker(), now, first_epoch);
        Self::of(circuit, rule, None, None)
    }

    fn of(circuit: Circuit, rule: BreakerRef, given: Option<BreakerRef>, pin: Option<BreakerPin>) -> Self {
        let counted = Counted::new(&circuit, rule.breaker());
        Self(Box::new(Contents { circuit, rule, given, pin: pin.map(Box::new), counted }))
    }

    /// The circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.0.circuit
    }

    /// The breaker that the circuit goes by.
    pub fn rule(&self) -> &BreakerRef {
        &self.0.rule
    }

    /// The breaker that a call gave last.
    pub fn given(&self) -> Option<&BreakerRef> {
        self.0.given.as_ref()
    }

    /// The pin, when there is one and it still holds.
    pub fn pin(&self, now: Micros) -> Option<&BreakerPin> {
        self.0.pin.as_deref().filter(|pin| pin.until.lasts(now))
    }

    /// Whether an operator forced a state at `now`.
    pub fn is_forced(&self, now: Micros) -> bool {
        matches!(self.view(None, now).state, CircuitState::ForcedOpen | CircuitState::ForcedClosed)
    }

    /// The circuit at `now` as it would go by `other`, or by its own breaker.
    pub fn view(&self, other: Option<&Breaker>, now: Micros) -> CircuitView {
        match other {
            None => self.circuit().view(self.rule().breaker(), now),
            Some(other) => self.under(other, now).view(other, now),
        }
    }

    /// A copy of the circuit changed to go by `other`.
    pub fn under(&self, other: &Breaker, now: Micros) -> Circuit {
        let mut circuit = self.circuit().clone();
        circuit.change_breaker(self.rule().breaker(), other, now);
        circuit
    }

    /// How long the key is worth keeping: the breaker's `idle` after the last
    /// result, but never less than an opening, a lease, a force or the pin.
    pub fn lifetime(&self, now: Micros) -> Until {
        let needed = self.circuit().expires_at(self.rule().breaker(), now).map_or(Until::Forever, Until::At);
        self.0.pin.as_ref().map_or(needed, |pin| needed.max(pin.until))
    }

    /// True when its time is over, whether or not the server has deleted it yet.
    pub fn is_over(&self, now: Micros) -> bool {
        !self.lifetime(now).lasts(now)
    }
}

// A key `50%/60s` and all that the server needs for it stays below 400 bytes.
const _: () = assert!(size_of::<Contents>() <= 96);
