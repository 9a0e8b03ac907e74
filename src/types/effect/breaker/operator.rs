//! The requests of operators: to force a state, to reset the circuit, to fix its breaker.

use super::asked::{AskedCircuit, BreakerKind};
use crate::core::breaker::{Force, REASON_BYTES};
use crate::core::text::duration::LONGEST;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::BreakerPin;
use crate::types::cbcircuit::encoding::{put_rule, read_rule};
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::until::{Until, Validity};

/// An operator forces a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SetForce<'a> {
    /// The state to force.
    pub force: Force,
    /// How long the force lasts in microseconds; `None` for ever.
    pub lasts_us: Option<u64>,
    /// The operator's reason.
    pub reason: &'a [u8],
}

impl<'a> BreakerKind<'a> for SetForce<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(match self.force {
            Force::Open => 0,
            Force::Closed => 1,
            Force::Auto => 2,
        });
        put_u64(out, self.lasts_us.map_or(0, |us| us.saturating_add(1)));
        put_bytes(out, self.reason);
    }

    fn read(_: MainThread, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let force = match rest.byte()? {
            0 => Force::Open,
            1 => Force::Closed,
            2 => Force::Auto,
            _ => return Err(Corrupt("unknown force")),
        };
        let lasts_us = rest.u64_to(LONGEST + 1)?.checked_sub(1);
        Ok(Self { force, lasts_us, reason: rest.bytes(REASON_BYTES)? })
    }

    fn apply(&self, asked: &mut AskedCircuit<'_>) -> Result<(), Corrupt> {
        let at = asked.moment();
        let until = self.lasts_us.map(|us| at.now.plus(us).min(Micros::MAX));
        asked.transition(|circuit, breaker| circuit.force(breaker, at, self.force, until, self.reason));
        Ok(())
    }
}

/// An operator fixes the breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct PinBreaker {
    /// The breaker.
    pub rule: BreakerRef,
    /// When the pin ends.
    pub until: Until,
}

impl<'a> BreakerKind<'a> for PinBreaker {
    fn put(&self, out: &mut Vec<u8>) {
        put_rule(out, &self.rule);
        self.until.put(out);
    }

    fn read(main: MainThread, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { rule: read_rule(main, rest)?, until: Until::read(rest)? })
    }

    fn apply(&self, asked: &mut AskedCircuit<'_>) -> Result<(), Corrupt> {
        let Self { rule, until } = self.clone();
        asked.set_pin(Some(BreakerPin { rule, validity: Validity::new(asked.now, until) }));
        Ok(())
    }
}

impl AskedCircuit<'_> {
    /// Resets the circuit.
    pub(super) fn reset(&mut self) {
        let at = self.moment();
        self.transition(|circuit, breaker| circuit.reset(breaker, at));
    }

    /// Removes the pin.
    pub(super) fn unpin(&mut self) {
        self.set_pin(None);
    }
}
