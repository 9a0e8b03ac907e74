//! A circuit as bytes, for storage and replication. The breaker is stored beside it and determines
//! the shape of the window.
//!
//! ```text
//! epoch since touched openings unjudged phase windows
//! phase = 0                               closed
//!       | 1 length credit                 closed, in a ramp
//!       | 2 length                        open
//!       | 3 done failures slow admitted n (id began lease)*n   half-open
//!       | 4 hold | 5 hold                 forced open, forced closed
//! hold  = (0 | 1 length) reason
//! ```
//!
//! `window::set` describes the windows.
//!
//! Version 0.1 had one window. It took the length of a ramp and of a lease from the breaker beside
//! it:
//!
//! ```text
//! epoch since touched openings phase window
//! phase = 1 credit | 3 done failures slow admitted n (id end)*n | as above
//! ```
//!
//! All numbers are varints. The ends of openings and forces are written as lengths from `since`, so
//! a payload cannot deny calls for longer than a breaker could. Every payload that is accepted
//! makes a circuit that works on from there.

use super::circuit::{Circuit, MAX_EPOCH};
use super::phase::{ForcedState, Phase, REASON_BYTES};
use super::ramp::Ramp;
use super::round::{MAX_TRIAL, Round, Trial};
use super::spec::{Breaker, MAX_PROBES};
use crate::core::breaker::window::CallWindows;
use crate::core::text::duration::LONGEST;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};

const CLOSED: u8 = 0;
const RAMP: u8 = 1;
const OPEN: u8 = 2;
const HALF_OPEN: u8 = 3;
const FORCED_OPEN: u8 = 4;
const FORCED_CLOSED: u8 = 5;

impl Circuit {
    /// Appends the circuit to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.epoch);
        put_u64(out, self.since.0);
        put_u64(out, self.touched.0);
        put_u64(out, self.openings.into());
        out.push(self.unjudged.into());
        match &self.phase {
            Phase::Closed { ramp: None } => out.push(CLOSED),
            Phase::Closed { ramp: Some(ramp) } => {
                out.push(RAMP);
                put_u64(out, ramp.length_us);
                put_u64(out, ramp.credit);
            }
            Phase::Open { deadline } => {
                out.push(OPEN);
                put_u64(out, deadline.since(self.since));
            }
            Phase::HalfOpen(round) => {
                out.push(HALF_OPEN);
                write_round(round, out);
            }
            Phase::ForcedOpen(hold) => {
                out.push(FORCED_OPEN);
                write_hold(hold, self.since, out);
            }
            Phase::ForcedClosed(hold) => {
                out.push(FORCED_CLOSED);
                write_hold(hold, self.since, out);
            }
        }
        self.windows.write(out);
    }

    /// Reads what [`Circuit::write`] wrote with the same breaker in force.
    ///
    /// # Errors
    /// [`Corrupt`] for bytes that no circuit writes.
    pub fn read(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        Self::read_of(WrittenBy::Now, reader, breaker)
    }

    /// Reads what version 0.1 wrote under the same breaker.
    ///
    /// # Errors
    /// [`Corrupt`] for bytes that no circuit wrote.
    pub fn read_0_1(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        Self::read_of(WrittenBy::Version0_1, reader, breaker)
    }

    fn read_of(by: WrittenBy, reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let epoch = reader.u64_to(MAX_EPOCH)?;
        let since = Micros(reader.u64_to(Micros::MAX.0)?);
        let touched = Micros(reader.u64_to(Micros::MAX.0)?);
        let openings = reader.number_to(u32::MAX)?;
        let unjudged = by == WrittenBy::Now && reader.u64_to(1)? == 1;
        let phase = match reader.byte()? {
            CLOSED => Phase::Closed { ramp: None },
            RAMP => {
                let length_us =
                    if by == WrittenBy::Now { reader.u64_to(LONGEST)? } else { breaker.ramp_us() };
                Phase::Closed { ramp: Some(Box::new(Ramp { length_us, credit: reader.u64_to(length_us)? })) }
            }
            OPEN => Phase::Open { deadline: since.plus(reader.u64_to(LONGEST)?) },
            HALF_OPEN => Phase::HalfOpen(Box::new(read_round(by, reader, breaker)?)),
            FORCED_OPEN => Phase::ForcedOpen(Box::new(read_hold(reader, since)?)),
            FORCED_CLOSED => Phase::ForcedClosed(Box::new(read_hold(reader, since)?)),
            _ => return Err(Corrupt("unknown state of a circuit")),
        };
        let windows = match by {
            WrittenBy::Now => CallWindows::read(reader, breaker)?,
            WrittenBy::Version0_1 => CallWindows::read_one(reader, breaker)?,
        };
        Ok(Self { epoch, since, touched, openings, unjudged, marks: 0, phase, windows })
    }
}

/// The version that wrote the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WrittenBy {
    Version0_1,
    Now,
}

fn write_round(round: &Round, out: &mut Vec<u8>) {
    out.extend([round.done, round.failures, round.slow]);
    put_u64(out, round.admitted);
    put_u64(out, round.in_flight.len() as u64);
    for trial in &round.in_flight {
        put_u64(out, trial.id);
        put_u64(out, trial.began.0);
        put_u64(out, trial.lease_us);
    }
}

fn read_round(by: WrittenBy, reader: &mut Reader, breaker: &Breaker) -> Result<Round, Corrupt> {
    let mut round = Round {
        done: reader.byte()?,
        failures: reader.byte()?,
        slow: reader.byte()?,
        admitted: reader.u64_to(MAX_TRIAL)?,
        in_flight: Vec::new(),
    };
    // If a verdict is certain under this breaker, the next call gives it.
    if round.failures > round.done || round.slow > round.done {
        return Err(Corrupt("impossible round of trials"));
    }
    let mut last = 0;
    for _ in 0..reader.u64_to(MAX_PROBES.into())? {
        let id = reader.u64_to(round.admitted)?;
        if id <= last {
            return Err(Corrupt("trials out of order"));
        }
        last = id;
        let (began, lease_us) = match by {
            WrittenBy::Now => (Micros(reader.u64_to(Micros::MAX.0)?), reader.u64_to(LONGEST)?),
            WrittenBy::Version0_1 => {
                let end = Micros(reader.u64_to(Micros::MAX.0 + LONGEST)?);
                let began = end.minus(breaker.lease_us()).min(Micros::MAX);
                (began, end.since(began).min(LONGEST))
            }
        };
        round.in_flight.push(Trial { id, began, lease_us });
    }
    Ok(round)
}

fn write_hold(hold: &ForcedState, since: Micros, out: &mut Vec<u8>) {
    match hold.until {
        None => out.push(0),
        Some(until) => {
            out.push(1);
            put_u64(out, until.since(since));
        }
    }
    put_bytes(out, &hold.reason);
}

fn read_hold(reader: &mut Reader, since: Micros) -> Result<ForcedState, Corrupt> {
    let until = match reader.byte()? {
        0 => None,
        1 => Some(since.plus(reader.u64_to(LONGEST)?)),
        _ => return Err(Corrupt("unknown end of a force")),
    };
    Ok(ForcedState { until, reason: reader.bytes(REASON_BYTES)?.into() })
}
