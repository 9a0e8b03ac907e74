//! Who reported the failures and the slow calls of one window.
//!
//! A breaker asks for at most eight different reporters. So only the last call of a reporter is
//! kept, and only for the eight reporters whose calls are the latest. This loses nothing: if the
//! call of a ninth is still in the window, so are the later calls of the eight. It takes the same
//! room whoever reports.
//!
//! One thing is lost. After the clock stepped back by more than a period, results that lie ahead
//! are forgotten together with their reporters, even if an earlier result of the same reporter
//! stays.

use super::call::{CallOutcome, SlowCalls};
use crate::core::breaker::report::Reporter;
use crate::core::breaker::spec::MAX_REPORTERS;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};

const MOST: usize = MAX_REPORTERS as usize;

/// The number of different reporters in a window. At most [`MAX_REPORTERS`] are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReporterTally {
    /// The number of reporters whose calls failed.
    pub failing: u8,
    /// The number of reporters whose calls were slow.
    pub slow: u8,
}

impl ReporterTally {
    /// The tally of a window that does not count reporters separately: one, if there is any such
    /// call.
    pub(super) fn of_one(failures: u64, slow: u64) -> Self {
        Self { failing: u8::from(failures > 0), slow: u8::from(slow > 0) }
    }
}

/// The reporters of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct WindowReporters {
    failing: LatestReporters,
    /// The reporters of slow calls, if these are counted.
    slow: Option<Box<LatestReporters>>,
}

/// A reporter, and the place of its last call in the window. Each kind of window defines its
/// places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LastCall {
    reporter: Reporter,
    place: u64,
}

/// The reporters whose calls are the latest, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LatestReporters {
    known: [LastCall; MOST],
    count: u8,
}

impl LatestReporters {
    fn all(&self) -> impl Iterator<Item = &LastCall> {
        self.known.iter().take(self.count.into())
    }

    fn note(&mut self, reporter: Reporter, place: u64) {
        let known = self.all().position(|last| last.reporter == reporter);
        let from = known.unwrap_or_else(|| {
            self.count = self.count.saturating_add(1).min(MAX_REPORTERS);
            usize::from(self.count).saturating_sub(1)
        });
        if let Some(moved) = self.known.get_mut(..=from) {
            moved.rotate_right(1);
        }
        let [first, ..] = &mut self.known;
        *first = LastCall { reporter, place };
    }

    fn keep(&mut self, stays: impl Fn(u64) -> bool) {
        if self.all().all(|last| stays(last.place)) {
            return;
        }
        let mut kept = Self::default();
        for (slot, last) in kept.known.iter_mut().zip(self.all().filter(|last| stays(last.place))) {
            *slot = *last;
            kept.count = kept.count.saturating_add(1);
        }
        *self = kept;
    }

    fn count(&self, counts: impl Fn(u64) -> bool) -> u8 {
        self.all().filter(|last| counts(last.place)).fold(0, |count, _| count + 1)
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.count.into());
        for last in self.all() {
            put_u128(out, last.reporter.bits());
            put_u64(out, last.place);
        }
    }

    fn read(reader: &mut Reader, fits: &impl Fn(u64) -> bool) -> Result<Self, Corrupt> {
        let mut latest = Self::default();
        for slot in 0..usize::from(reader.number_to(MAX_REPORTERS)?) {
            let last = LastCall { reporter: Reporter::from_bits(reader.u128()?), place: reader.u64()? };
            if !fits(last.place) || latest.all().any(|known| known.reporter == last.reporter) {
                return Err(Corrupt("impossible reporters"));
            }
            if let Some(place) = latest.known.get_mut(slot) {
                *place = last;
                latest.count = latest.count.saturating_add(1);
            }
        }
        Ok(latest)
    }
}

impl WindowReporters {
    /// The reporters of an empty window.
    pub fn new(slow: SlowCalls) -> Self {
        Self { failing: LatestReporters::default(), slow: slow.counter(Box::default) }
    }

    /// The reporters of a window that did not count them separately: all count as one. The last two
    /// arguments say where the last failure and the last slow call are.
    pub fn of_one(slow: SlowCalls, last_failure: Option<u64>, last_slow: Option<u64>) -> Self {
        let mut all = Self::new(slow);
        if let Some(place) = last_failure {
            all.failing.note(Reporter::UNNAMED, place);
        }
        if let (Some(slow), Some(place)) = (&mut all.slow, last_slow) {
            slow.note(Reporter::UNNAMED, place);
        }
        all
    }

    /// Forgets all reporters.
    pub fn clear(&mut self) {
        self.failing = LatestReporters::default();
        if let Some(slow) = &mut self.slow {
            **slow = LatestReporters::default();
        }
    }

    /// Counts slow calls from now on. Earlier calls count as not slow.
    pub fn count_slow(&mut self) {
        self.slow.get_or_insert_with(Box::default);
    }

    /// Notes the reporter of a call at this place in the window.
    pub fn note(&mut self, call: CallOutcome, place: u64) {
        if call.failed {
            self.failing.note(call.reporter, place);
        }
        if let Some(slow) = self.slow.as_mut().filter(|_| call.slow) {
            slow.note(call.reporter, place);
        }
    }

    /// Forgets the calls at all other places, which have left the window.
    pub fn keep(&mut self, stays: impl Fn(u64) -> bool) {
        self.failing.keep(&stays);
        if let Some(slow) = &mut self.slow {
            slow.keep(stays);
        }
    }

    /// The number of different reporters with calls at these places.
    pub fn tally(&self, counts: impl Fn(u64) -> bool) -> ReporterTally {
        ReporterTally {
            failing: self.failing.count(&counts),
            slow: self.slow.as_ref().map_or(0, |slow| slow.count(counts)),
        }
    }

    /// Bytes on the heap, without this value itself.
    pub fn heap_bytes(&self) -> usize {
        self.slow.as_ref().map_or(0, |_| size_of::<LatestReporters>())
    }

    /// Appends the reporters to `out`, of failures first, then of slow calls if these are counted:
    /// their number, then each with its place.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.failing.write(out);
        if let Some(slow) = &self.slow {
            slow.write(out);
        }
    }

    /// Reads what [`WindowReporters::write`] wrote. `fits` says which places the window has.
    pub fn read(reader: &mut Reader, slow: SlowCalls, fits: impl Fn(u64) -> bool) -> Result<Self, Corrupt> {
        let failing = LatestReporters::read(reader, &fits)?;
        let slow = slow.counter(|| LatestReporters::read(reader, &fits)).transpose()?.map(Box::new);
        Ok(Self { failing, slow })
    }
}
