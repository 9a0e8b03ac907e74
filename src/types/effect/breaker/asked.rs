//! A circuit while an effect asks it, what each kind of request defines, and the answer.

use super::terms::{BreakerTerms, Holds};
use crate::core::breaker::{
    Breaker, Circuit, CircuitState, Moment, Permit, StateTransition, Transition, Transitions,
};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::cbcircuit::{BreakerPin, CbCircuit, Contents, FROM_CALLER, GIVEN_BY_REPORT};
use crate::types::until::Until;

/// A kind of request to a circuit.
pub trait BreakerKind<'a>: Sized {
    /// Appends what follows the header and the terms.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`BreakerKind::put`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut or malformed.
    fn read(main: MainThread, rest: &mut Reader<'a>) -> Result<Self, Corrupt>;

    /// Asks the circuit, and notes its answer.
    ///
    /// # Errors
    /// [`Corrupt`] if the request does not fit. Nothing has changed then.
    fn apply(&self, asked: &mut AskedCircuit<'_>) -> Result<(), Corrupt>;
}

/// A stored payload, of which nothing is asked: [`BreakerEffect`](super::BreakerEffect) loads it.
impl<'a> BreakerKind<'a> for &'a [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self);
    }

    fn read(_: MainThread, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        rest.bytes(usize::MAX)
    }

    fn apply(&self, _: &mut AskedCircuit<'_>) -> Result<(), Corrupt> {
        Ok(())
    }
}

/// The answer of a circuit.
#[derive(Debug)]
pub struct AppliedBreaker {
    /// The state afterwards.
    pub state: CircuitState,
    /// The permit of an admitted call; else `None`.
    pub permit: Option<Permit>,
    /// When to ask again, if a call is denied.
    pub retry: RetryAfter,
    /// False for a result that was stale.
    pub counted: bool,
    /// True if anything changed. Otherwise there is nothing to replicate.
    pub changed: bool,
    /// The new value, if the key had none.
    pub created: Option<CbCircuit>,
    /// How long the key is worth keeping, if anything changed.
    pub lifetime: Until,
    /// The transitions, in the order in which they happened.
    pub transitions: Vec<Transition>,
}

impl AppliedBreaker {
    pub(super) const fn unchanged(state: CircuitState) -> Self {
        Self {
            state,
            permit: None,
            retry: RetryAfter::Now,
            counted: false,
            changed: false,
            created: None,
            lifetime: Until::Forever,
            transitions: Vec::new(),
        }
    }
}

/// What the circuit answered to a call that may name breakers. It adopts the breaker of a call that is
/// admitted, and of any that opens.
#[derive(Clone, Copy, Debug)]
pub enum CallAnswer {
    /// The call asked for admission.
    Admission {
        /// Whether the circuit adopted the call's breaker.
        adopted: bool,
        /// Whether the call may go through.
        allowed: bool,
    },
    /// The result of the call was reported.
    Report {
        /// Whether the circuit adopted the call's breaker.
        adopted: bool,
        /// Whether the result counts.
        counted: bool,
    },
}

/// A circuit while it is asked, and its answer so far.
#[derive(Debug)]
pub struct AskedCircuit<'v> {
    /// The time of the request.
    pub now: Micros,
    /// The answer so far.
    pub applied: AppliedBreaker,
    terms: &'v BreakerTerms,
    contents: &'v mut Contents,
    /// The breaker that holds, if another one is in force and stays so for now.
    other: Option<&'v BreakerRef>,
}

impl<'v> AskedCircuit<'v> {
    /// The circuit under these terms. A pin that is over is removed, unless the request
    /// `keeps_pin`.
    pub fn new(now: Micros, terms: &'v BreakerTerms, contents: &'v mut Contents, keeps_pin: bool) -> Self {
        let mut applied = AppliedBreaker::unchanged(contents.circuit.state());
        if let Some(pin) = &mut contents.pin {
            applied.changed |= pin.step_back(now);
            if !keeps_pin && !pin.validity.recorded().lasts(now) {
                contents.pin = None;
                applied.changed = true;
            }
        }
        let other = terms.rule.as_ref().filter(|rule| contents.rule != **rule);
        let mut asked = Self { now, applied, terms, contents, other };
        if terms.begin.is_some() || !(asked.is_for_call() || terms.names_nothing()) {
            asked.put_in_force();
        }
        asked.other = asked.other.filter(|_| asked.is_for_call());
        asked
    }

    fn is_for_call(&self) -> bool {
        self.terms.holds == Holds::ForCall
    }

    /// The time of the request, and the epochs that are used up by then.
    pub fn moment(&self) -> Moment {
        Moment { now: self.now, least_epoch: self.terms.least_epoch.unwrap_or(0) }
    }

    /// The circuit, the breaker in force, and the breaker that holds for the request if that is
    /// another one.
    pub fn circuit(&mut self) -> (&mut Circuit, &Breaker, Option<&Breaker>) {
        let Contents { circuit, rule, .. } = &mut *self.contents;
        (circuit, rule.breaker(), self.other.map(BreakerRef::breaker))
    }

    /// Notes whether the circuit changed, and its transitions.
    pub fn changed(&mut self, changed: bool, transitions: Transitions) {
        self.applied.changed |= changed;
        if !transitions.list().is_empty() {
            self.applied.transitions.extend(Vec::from(transitions));
        }
    }

    /// Asks the circuit for something that may move its state, under the breaker that holds.
    pub fn transition(&mut self, ask: impl FnOnce(&mut Circuit, &Breaker) -> StateTransition) {
        let (circuit, in_force, other) = self.circuit();
        let answer = ask(circuit, other.unwrap_or(in_force));
        self.changed(answer.changed, answer.transitions);
    }

    /// Asks whether a call may go through.
    pub fn acquire(&mut self) {
        let at = self.moment();
        let (circuit, in_force, other) = self.circuit();
        let admission = match other {
            None => circuit.acquire(in_force, at),
            Some(breaker) => circuit.acquire_under(in_force, breaker, at),
        };
        self.applied.permit = admission.permit;
        self.applied.retry = admission.retry;
        self.changed(admission.changed, admission.transitions);
        self.answered(CallAnswer::Admission { adopted: admission.adopted, allowed: admission.allowed });
    }

    /// Records what time has done.
    pub fn record_time(&mut self) {
        let now = self.now;
        self.transition(|circuit, breaker| circuit.change_breaker(breaker, breaker, now));
    }

    /// Records a clock that stepped back.
    pub fn step_back(&mut self) {
        self.applied.changed |= self.contents.circuit.step_back(self.now);
    }

    /// Sets the pin or removes it.
    pub fn set_pin(&mut self, pin: Option<BreakerPin>) {
        let pin = pin.map(Box::new);
        self.applied.changed |= pin.is_some() || self.contents.pin.is_some();
        self.contents.pin = pin;
    }

    /// Puts the breakers of the terms in force, whatever the answer will be.
    fn put_in_force(&mut self) {
        let at = self.moment();
        let Self { terms, contents, other, applied, .. } = self;
        let from_caller = terms.from_caller || terms.given_is_rule();
        let turns = terms.says_who_chose() && contents.is_marked(FROM_CALLER) != from_caller;
        if let Some(rule) = other {
            let (old, new) = (contents.rule.breaker(), rule.breaker());
            let circuit = &mut contents.circuit;
            let changed = if terms.holds == Holds::Forgetting {
                circuit.change_breaker_0_1(old, new, at.now)
            } else {
                circuit.change_breaker(old, new, at)
            };
            applied.transitions = changed.transitions.into();
            contents.rule = rule.clone();
        }
        if other.is_some() || terms.begin.is_some() || turns {
            contents.mark(FROM_CALLER, from_caller);
            applied.changed = true;
        }
        if let Some(given) = terms.given.as_ref().filter(|_| terms.holds != Holds::ForCall) {
            contents.given = Some(given.clone());
            contents.mark(GIVEN_BY_REPORT, false);
            applied.changed = true;
        }
    }

    /// Makes the breakers of a call the key's own, if the circuit passed the call or adopted its breaker.
    pub fn answered(&mut self, answer: CallAnswer) {
        if !self.is_for_call() {
            return;
        }
        let (adopted, passed, by_report) = match answer {
            CallAnswer::Admission { adopted, allowed } => (adopted, allowed, false),
            CallAnswer::Report { adopted, counted } => (adopted, counted, true),
        };
        let Self { terms, contents, applied, .. } = self;
        if adopted && terms.says_who_chose() {
            applied.changed |= contents.is_marked(FROM_CALLER) != terms.from_caller;
            contents.mark(FROM_CALLER, terms.from_caller);
        }
        if adopted && let Some(rule) = &terms.rule {
            contents.rule = rule.clone();
        }
        // A breaker of a report does not replace one of an acquire.
        let replaces = !by_report || contents.given.is_none() || contents.is_marked(GIVEN_BY_REPORT);
        if let Some(given) = terms.given.as_ref().filter(|_| passed && replaces) {
            contents.circuit.name(given.breaker());
            contents.given = Some(given.clone());
            contents.mark(GIVEN_BY_REPORT, by_report);
            applied.changed = true;
        }
    }
}
