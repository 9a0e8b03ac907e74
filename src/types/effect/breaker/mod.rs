//! A change to a `cbcircuit`, as the master and every replica apply it.
//!
//! A circuit is a function of its former state, its breaker, the time and the request. So an effect
//! holds the request, the master's time, and the breaker if it is another one. The same code then
//! gives the same answer on every server.

mod asked;
mod operator;
mod report;
mod terms;

pub use asked::AppliedBreaker;
pub use operator::{PinBreaker, SetForce};
pub use terms::{BreakerTerms, Holds};

use super::header::EffectHeader;
use super::kinds::change_kinds;
use crate::core::breaker::Report;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::{CbCircuit, encoding, epochs};
use asked::{AskedCircuit, BreakerKind as _};

/// A request to a circuit at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerEffect<'a> {
    /// The master's time.
    pub now: Micros,
    /// True if the key gets the expiry of its state. False under the debug clock.
    pub expires: bool,
    /// The breakers under which the circuit is asked.
    pub terms: BreakerTerms,
    /// The request.
    pub change: BreakerChange<'a>,
}

change_kinds! {
    /// The request to a circuit. Each kind with parts defines the rest by
    /// `BreakerKind` in a file of its own, or in one with its like.
    #[derive(Clone, Debug, PartialEq)]
    BreakerChange: read with MainThread, applied to AskedCircuit<'_>;

    with parts {
        /// A call has a result.
        Report(Report) = 34,
        /// An operator forces a state.
        Force(SetForce<'a>) = 36,
        /// An operator fixes the breaker.
        Pin(PinBreaker) = 38,
        /// The key becomes what this stored payload of [`encoding::VERSION`] holds.
        Become(&'a [u8]) = 40,
    }

    without {
        /// A call wants to go through.
        Acquire = 33 => AskedCircuit::acquire,
        /// Nothing is asked; what time has done is recorded. Only version 0.1 wrote this.
        Settle = 35 => AskedCircuit::record_time,
        /// An operator resets the circuit.
        Reset = 37 => AskedCircuit::reset,
        /// An operator removes the pin.
        Unpin = 39 => AskedCircuit::unpin,
        /// Nothing is asked; a clock that stepped back is recorded.
        StepBack = 41 => AskedCircuit::step_back,
    }
}

impl<'a> BreakerEffect<'a> {
    /// Appends the payload of [`EFFECT`](crate::server::effects::replicate::EFFECT).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { now, expires, ref terms, ref change } = *self;
        let (kind, parts) = (change.number(), terms.parts());
        EffectHeader { kind, has_parts: parts != 0, expires, now }.put(out);
        if parts != 0 {
            terms.put(parts, out);
        }
        change.put(out);
    }

    /// Reads the payload that [`BreakerEffect::encode`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut, malformed or unknown.
    pub fn decode(main: MainThread, payload: &'a [u8]) -> Result<Self, Corrupt> {
        let mut rest = Reader::new(payload);
        let EffectHeader { kind, has_parts, expires, now } = EffectHeader::read(&mut rest)?;
        let terms = if has_parts { BreakerTerms::read(main, &mut rest)? } else { BreakerTerms::STANDING };
        let change = BreakerChange::read(kind, main, &mut rest)?;
        rest.end()?;
        Ok(Self { now, expires, terms, change })
    }

    /// Applies the effect to the value of a key, or to a key without one.
    ///
    /// The result depends on the value and the effect alone, never on this server's clock, settings
    /// or policies. So it is the same on the master, on its replicas and from the AOF.
    ///
    /// # Errors
    /// [`Corrupt`] if the effect does not fit: it needs a circuit that is not there, or its payload
    /// is malformed. Nothing has changed then.
    pub fn apply(&self, main: MainThread, value: Option<&mut CbCircuit>) -> Result<AppliedBreaker, Corrupt> {
        if let BreakerChange::Become(payload) = self.change {
            let loaded = encoding::load(main, encoding::VERSION, payload)?;
            let (unchanged, lifetime) =
                (AppliedBreaker::unchanged(loaded.circuit().state()), loaded.lifetime(self.now));
            return Ok(AppliedBreaker { changed: true, lifetime, created: Some(loaded), ..unchanged });
        }
        if let Some(epoch) = self.terms.begin {
            let rule = self.terms.rule.clone().ok_or(Corrupt("a circuit without a breaker"))?;
            let mut made = CbCircuit::new(rule, self.now, epoch);
            // What is forgotten is the circuit, and not the operator's word.
            made.0.pin = value.and_then(|value| value.0.pin.clone());
            let applied = self.ask(main, &mut made)?;
            return Ok(AppliedBreaker { created: Some(made), ..applied });
        }
        self.ask(main, value.ok_or(Corrupt("it counts on a circuit that is not there"))?)
    }

    fn ask(&self, main: MainThread, value: &mut CbCircuit) -> Result<AppliedBreaker, Corrupt> {
        let keeps_pin = self.change == BreakerChange::StepBack;
        let mut asked = AskedCircuit::new(self.now, &self.terms, &mut value.0, keeps_pin);
        self.change.apply(&mut asked)?;
        let mut applied = asked.applied;
        let contents = &mut *value.0;
        applied.state = contents.circuit.state();
        if applied.changed {
            let is_pinned = contents.pin.is_some();
            contents.counted.update(main, &contents.circuit, contents.rule.breaker(), is_pinned);
            epochs::learn(main, contents.circuit.epoch());
            applied.lifetime = value.lifetime(self.now);
        }
        Ok(applied)
    }
}
