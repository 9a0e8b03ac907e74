//! The native type `cbcircuit`: what one key of a circuit breaker remembers.
//!
//! For a given breaker the size is fixed, whatever happens to the circuit. Keys share the breaker
//! itself.

pub mod encoding;
pub mod epochs;
mod native;
pub mod rules;
pub mod state_counts;

use crate::core::breaker::{Admission, Breaker, Circuit, CircuitState, CircuitView};
use crate::core::time::Micros;
use crate::types::until::{Until, Validity};
use rules::BreakerRef;
use state_counts::Counted;

/// A breaker that an operator fixed for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerPin {
    /// The breaker.
    pub rule: BreakerRef,
    /// The time in which the pin holds.
    pub validity: Validity,
}

impl BreakerPin {
    /// Records that the clock stepped back. Returns whether it did.
    pub(in crate::types) fn step_back(&mut self, now: Micros) -> bool {
        let stepped = self.validity.stepped_back(now);
        self.validity = self.validity.seen_at(now);
        stepped
    }
}

/// The value of a key.
#[derive(Debug)]
pub struct CbCircuit(pub(in crate::types) Box<Contents>);

/// The contents of a value, to which the key's pointer points.
#[derive(Clone, Debug)]
pub struct Contents {
    pub(in crate::types) circuit: Circuit,
    /// The breaker in force: the last that admitted a call, or that opened.
    pub(in crate::types) rule: BreakerRef,
    /// The key's own breaker: the one that an admitted call gave last, or, if none did, a report.
    pub(in crate::types) given: Option<BreakerRef>,
    pub(in crate::types) pin: Option<Box<BreakerPin>>,
    pub(in crate::types) counted: Counted,
}

/// The mark of a breaker in force that a caller chose, and not a policy, the default or a pin.
pub(in crate::types) const FROM_CALLER: u8 = 1;
/// The mark of an own breaker that a report gave.
pub(in crate::types) const GIVEN_BY_REPORT: u8 = 2;

impl Contents {
    pub(in crate::types) const fn is_marked(&self, mark: u8) -> bool {
        self.circuit.marks() & mark != 0
    }

    pub(in crate::types) const fn mark(&mut self, mark: u8, is: bool) {
        let others = self.circuit.marks() & !mark;
        self.circuit.mark(if is { others | mark } else { others });
    }
}

impl CbCircuit {
    /// A closed circuit. Its first epoch is `now` or `first_epoch`, whichever is later.
    pub fn new(rule: BreakerRef, now: Micros, first_epoch: u64) -> Self {
        let circuit = Circuit::new(rule.breaker(), now, first_epoch);
        Self::of(circuit, rule, None, None)
    }

    fn of(circuit: Circuit, rule: BreakerRef, given: Option<BreakerRef>, pin: Option<BreakerPin>) -> Self {
        let counted = Counted::new(&circuit, rule.breaker(), pin.is_some());
        let from_caller = given.as_ref() == Some(&rule);
        let mut contents = Contents { circuit, rule, given, pin: pin.map(Box::new), counted };
        contents.mark(FROM_CALLER, from_caller);
        Self(Box::new(contents))
    }

    /// The circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.0.circuit
    }

    /// The breaker in force.
    pub fn rule(&self) -> &BreakerRef {
        &self.0.rule
    }

    /// The key's own breaker: the one that an admitted call gave last, or, if none did, a report.
    pub fn given(&self) -> Option<&BreakerRef> {
        self.0.given.as_ref()
    }

    /// True if this is the key's own breaker because an admitted call gave it.
    pub fn was_given(&self, rule: &BreakerRef) -> bool {
        self.given() == Some(rule) && !self.0.is_marked(GIVEN_BY_REPORT)
    }

    /// True if a report of this breaker makes it the key's own, which it is not yet.
    pub fn takes_of_report(&self, rule: &BreakerRef) -> bool {
        self.given().is_none_or(|own| own != rule && self.0.is_marked(GIVEN_BY_REPORT))
    }

    /// True if a caller chose the breaker in force.
    pub fn is_from_caller(&self) -> bool {
        self.0.is_marked(FROM_CALLER)
    }

    /// The breaker that `text` means, if it is the one in force or the key's own. It is then known
    /// without a look-up in the table.
    pub fn named(&self, text: &[u8]) -> Option<&BreakerRef> {
        std::iter::once(&self.0.rule).chain(&self.0.given).find(|rule| rule.is(text))
    }

    /// The pin, if there is one that still holds.
    pub fn pin(&self, now: Micros) -> Option<&BreakerPin> {
        self.recorded_pin().filter(|pin| pin.validity.lasts(now))
    }

    /// The pin, even if it is over: a clock that steps back makes it hold again.
    pub fn recorded_pin(&self) -> Option<&BreakerPin> {
        self.0.pin.as_deref()
    }

    /// True if time has done something to the pin that is not recorded yet: it is over, or the
    /// clock stepped back to before it began.
    pub fn pin_is_late(&self, now: Micros) -> bool {
        self.0.pin.as_ref().is_some_and(|pin| pin.validity.stepped_back(now) || !pin.validity.lasts(now))
    }

    /// True if a state that an operator forced holds at `now`.
    pub fn is_forced(&self, now: Micros) -> bool {
        matches!(self.view(None, now).state, CircuitState::ForcedOpen | CircuitState::ForcedClosed)
    }

    /// The circuit at `now`, as a call under `other` sees it; under the breaker in force if that is
    /// `None`.
    pub fn view(&self, other: Option<&Breaker>, now: Micros) -> CircuitView {
        let in_force = self.rule().breaker();
        let other = other.unwrap_or(in_force);
        match self.forgotten_at(now) {
            Some(end) => Circuit::new(other, end, self.circuit().epoch().saturating_add(1)).view(other, now),
            None => self.circuit().view_under(in_force, other, now),
        }
    }

    /// The answer that a call under `other` would get; under the breaker in force if that is
    /// `None`.
    pub fn peek_acquire(&self, other: Option<&Breaker>, now: Micros) -> Admission {
        let in_force = self.rule().breaker();
        match other {
            None => self.circuit().peek_acquire(in_force, now),
            Some(other) => self.circuit().peek_acquire_under(in_force, other, now),
        }
    }

    /// When the circuit was forgotten, if its time is over. A pin may still keep the key. The next
    /// request begins a new circuit under it.
    fn forgotten_at(&self, now: Micros) -> Option<Micros> {
        let breaker = self.rule().breaker();
        // Nearly always the last result alone tells that the circuit still matters.
        if self.circuit().was_touched_within_idle(breaker, now) {
            return None;
        }
        self.circuit().expires_at(breaker, now).filter(|end| *end <= now)
    }

    /// True if the circuit is forgotten, whether or not a pin keeps the key.
    pub fn is_forgotten(&self, now: Micros) -> bool {
        self.forgotten_at(now).is_some()
    }

    /// How long the key is worth keeping: the breaker's `idle` after the last result, but never
    /// less than an opening, a lease, a force or the pin.
    pub fn lifetime(&self, now: Micros) -> Until {
        let needed = self.circuit().expires_at(self.rule().breaker(), now).map_or(Until::Forever, Until::At);
        self.0.pin.as_ref().map_or(needed, |pin| needed.max(pin.validity.until(now)))
    }

    /// True if its time is over, whether or not the server has deleted the key yet.
    pub fn is_over(&self, now: Micros) -> bool {
        !self.lifetime(now).lasts(now)
    }
}

// A key with `50%/60s`, and all that the server needs for it, stays near 400 bytes.
const _: () = assert!(size_of::<Contents>() <= 104);
