//! Who reported the failures, and the slow calls, of one window.
//!
//! A breaker asks for up to eight different reporters. So of each reporter only the
//! last call that counts is kept, and only of the eight whose calls are the latest: a
//! ninth whose call is still in the window has eight before it whose calls are later,
//! and so in the window as well. That is exact, and of one size whoever reports.
//!
//! One thing alone is not known any more: after the clock stepped back by more than a
//! period, results that lie ahead are forgotten, and with them who reported them, though
//! an earlier result of the same reporter may stay.

use super::call::{CallOutcome, read_u32};
use crate::core::breaker::reporter::Reporter;
use crate::core::breaker::spec::MAX_REPORTERS;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};

const MOST: usize = MAX_REPORTERS as usize;

/// How many different reporters a window knows; at most [`MAX_REPORTERS`] are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReporterTally {
    /// Whose calls failed.
    pub failing: u8,
    /// Whose calls were slow.
    pub slow: u8,
}

impl ReporterTally {
    /// Where nobody is told apart: one, if there is anything.
    pub(super) fn of_one(failures: u64, slow: u64) -> Self {
        Self { failing: u8::from(failures > 0), slow: u8::from(slow > 0) }
    }
}

/// Those of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct WindowReporters {
    failing: LatestReporters,
    /// Where slow calls are counted.
    slow: Option<Box<LatestReporters>>,
}

/// A reporter, and the place of its last call in the window: what a place is depends on
/// the kind of window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LastCall {
    reporter: Reporter,
    place: u64,
}

/// The reporters whose calls are the latest, the last one first.
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
        let count = read_u32(reader, MAX_REPORTERS.into())?;
        for slot in 0..usize::try_from(count).unwrap_or(0) {
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
    /// Of an empty window; `slow` says whether slow calls are counted.
    pub fn new(slow: bool) -> Self {
        Self { failing: LatestReporters::default(), slow: slow.then(Box::default) }
    }

    /// Of a window whose reporters were not told apart: all are one. It says where the
    /// last failure and the last slow call are; `slow` as for [`WindowReporters::new`].
    pub fn of_one(slow: bool, last_failure: Option<u64>, last_slow: Option<u64>) -> Self {
        let mut all = Self::new(slow);
        if let Some(place) = last_failure {
            all.failing.note(Reporter::UNNAMED, place);
        }
        if let (Some(slow), Some(place)) = (&mut all.slow, last_slow) {
            slow.note(Reporter::UNNAMED, place);
        }
        all
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.failing = LatestReporters::default();
        if let Some(slow) = &mut self.slow {
            **slow = LatestReporters::default();
        }
    }

    /// Counts slow calls from now on; so far there were none.
    pub fn count_slow(&mut self) {
        self.slow.get_or_insert_with(Box::default);
    }

    /// A call has its place in the window.
    pub fn note(&mut self, call: CallOutcome, place: u64) {
        if call.failed {
            self.failing.note(call.reporter, place);
        }
        if let Some(slow) = self.slow.as_mut().filter(|_| call.slow) {
            slow.note(call.reporter, place);
        }
    }

    /// Only what has these places is still in the window.
    pub fn keep(&mut self, stays: impl Fn(u64) -> bool) {
        self.failing.keep(&stays);
        if let Some(slow) = &mut self.slow {
            slow.keep(stays);
        }
    }

    /// How many different ones have calls in these places.
    pub fn tally(&self, counts: impl Fn(u64) -> bool) -> ReporterTally {
        ReporterTally {
            failing: self.failing.count(&counts),
            slow: self.slow.as_ref().map_or(0, |slow| slow.count(counts)),
        }
    }

    /// Bytes on the heap besides itself.
    pub fn heap_bytes(&self) -> usize {
        self.slow.as_ref().map_or(0, |_| size_of::<LatestReporters>())
    }

    /// Appends them to `out`: for failures, and where they are counted for slow calls,
    /// how many there are, then each with its place.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.failing.write(out);
        if let Some(slow) = &self.slow {
            slow.write(out);
        }
    }

    /// Reads what [`WindowReporters::write`] wrote; `fits` says which places there are.
    pub fn read(reader: &mut Reader, slow: bool, fits: impl Fn(u64) -> bool) -> Result<Self, Corrupt> {
        let failing = LatestReporters::read(reader, &fits)?;
        let slow = if slow { Some(Box::new(LatestReporters::read(reader, &fits)?)) } else { None };
        Ok(Self { failing, slow })
    }
}
