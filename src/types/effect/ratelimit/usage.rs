//! Changes of the usage series of a tracked key.

use super::changed_value::{ChangedValue, RateLimitKind};
use crate::core::usage::{Decided, Spend, WorkOutcome};
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};
use crate::types::effect::header::flag;

/// A decision is counted.
impl<'a> RateLimitKind<'a> for Decided {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.granted);
        put_u64(out, self.denied);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { granted: rest.u64()?, denied: rest.u64()? })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let now = value.now;
        // Units that were granted were taken by the change before this one. It recorded the clock
        // in the usage of the listed limits, too.
        if self.granted > 0 {
            value.record_clock_beside();
        } else {
            value.record_clock();
        }
        value.count(|usage| usage.decided(now, *self));
        Ok(())
    }
}

const OK: u8 = 1;
const CACHED: u8 = 2;
const TIMED: u8 = 4;
/// The spend is in pico-units with a sign. Without this flag it is in nano-units, as version 0.1
/// wrote it.
const PICOS: u8 = 8;

/// The outcome of work is counted.
impl<'a> RateLimitKind<'a> for WorkOutcome {
    fn put(&self, out: &mut Vec<u8>) {
        let flags = flag(self.ok, OK) | flag(self.cached, CACHED) | flag(self.duration_ms.is_some(), TIMED);
        out.push(flags | PICOS);
        put_u64(out, self.count);
        put_u128(out, self.spend.zigzag());
        if let Some(ms) = self.duration_ms {
            put_u64(out, ms);
        }
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let flags = rest.byte()?;
        if flags & !(OK | CACHED | TIMED | PICOS) != 0 {
            return Err(Corrupt("unknown outcome"));
        }
        Ok(Self {
            ok: flags & OK != 0,
            cached: flags & CACHED != 0,
            count: rest.u64()?,
            spend: match (rest.u128()?, flags & PICOS) {
                (nanos, 0) => Spend::from_nanos(nanos),
                (picos, _) => Spend::from_zigzag(picos),
            },
            duration_ms: if flags & TIMED == 0 { None } else { Some(rest.u64()?) },
        })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let now = value.now;
        value.record_clock();
        value.count(|usage| usage.record(now, self));
        Ok(())
    }
}
