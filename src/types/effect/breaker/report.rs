//! The request by which a circuit learns the result of a call.

use super::asked::{AskedCircuit, BreakerKind, CallAnswer};
use crate::core::breaker::{Permit, Report, ReportOutcome, Reporter};
use crate::core::text::duration::LONGEST;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};
use crate::server::main_thread::MainThread;
use crate::types::effect::header::flag;

const OUTCOME: u8 = 0b11;
const BY_CLOSED: u8 = 0b100;
const BY_TRIAL: u8 = 0b1000;
const TIMED: u8 = 0b1_0000;
/// The name of the reporter follows, as its hash.
const NAMED: u8 = 0b10_0000;

/// A call has a result.
impl<'a> BreakerKind<'a> for Report {
    fn put(&self, out: &mut Vec<u8>) {
        let outcome = match self.outcome {
            ReportOutcome::Ok => 0,
            ReportOutcome::Fail => 1,
            ReportOutcome::Ignore => 2,
        };
        let (permit, numbers) = match self.permit {
            None => (0, [None, None]),
            Some(Permit::Closed { epoch }) => (BY_CLOSED, [Some(epoch), None]),
            Some(Permit::Trial { epoch, trial }) => (BY_TRIAL, [Some(epoch), Some(trial)]),
        };
        let (is_timed, is_named) = (self.duration_us.is_some(), self.reporter.is_named());
        out.push(outcome | permit | flag(is_timed, TIMED) | flag(is_named, NAMED));
        numbers.into_iter().flatten().chain(self.duration_us).for_each(|number| put_u64(out, number));
        if is_named {
            put_u128(out, self.reporter.bits());
        }
    }

    fn read(_: MainThread, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let head = rest.byte()?;
        let outcome = match head & OUTCOME {
            0 => ReportOutcome::Ok,
            1 => ReportOutcome::Fail,
            2 => ReportOutcome::Ignore,
            _ => return Err(Corrupt("unknown outcome")),
        };
        let permit = match head & (BY_CLOSED | BY_TRIAL) {
            0 => None,
            BY_CLOSED => Some(Permit::Closed { epoch: rest.u64()? }),
            BY_TRIAL => Some(Permit::Trial { epoch: rest.u64()?, trial: rest.u64()? }),
            _ => return Err(Corrupt("two permits")),
        };
        let duration_us = if head & TIMED == 0 { None } else { Some(rest.u64_to(LONGEST)?) };
        let reporter = if head & NAMED == 0 { Reporter::UNNAMED } else { Reporter::from_bits(rest.u128()?) };
        Ok(Self { outcome, permit, duration_us, reporter })
    }

    fn apply(&self, asked: &mut AskedCircuit<'_>) -> Result<(), Corrupt> {
        let at = asked.moment();
        let (circuit, in_force, other) = asked.circuit();
        let reported = circuit.report_under(in_force, other.unwrap_or(in_force), at, self);
        asked.applied.counted = reported.applied;
        asked.changed(reported.changed, reported.transitions);
        asked.answered(CallAnswer::Report { adopted: reported.adopted, counted: reported.applied });
        Ok(())
    }
}
