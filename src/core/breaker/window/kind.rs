//! The kinds of windows, and which trip uses which.

use super::call::{CallOutcome, CallTally, Keeps, read_u32};
use super::reporters::{ReporterTally, WindowReporters};
use super::ring::Ring;
use super::slices::Slices;
use crate::core::breaker::spec::{Breaker, MAX_COUNT, Trip};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The kind of window that a breaker is judged on. Breakers of one kind share a window, whatever
/// their thresholds and options are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) enum WindowKind {
    /// `N`: the failures since the last success.
    Run,
    /// `N/period` and `P%/period`: the results of this many microseconds.
    Period(u64),
    /// `P%/Ncalls`: the results of this many calls.
    Calls(u16),
}

impl WindowKind {
    /// The kind of window that a trip looks at.
    pub const fn of(trip: Trip) -> Self {
        match trip {
            Trip::Consecutive { .. } => Self::Run,
            Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. } => Self::Period(period_us),
            Trip::RateCalls { calls, .. } => Self::Calls(calls),
        }
    }
}

/// The window of a circuit. Its size depends on its kind alone: it allocates when it is made, never
/// while it records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) enum CallWindow {
    /// `N`: the failures since the last success, and who reported them, if reporters are counted
    /// separately.
    Run { failures: u32, reporters: Option<Box<WindowReporters>> },
    /// `N/period` and `P%/period`: the results of the period, in slices of time.
    Slices(Box<Slices>),
    /// `P%/Ncalls`: the results of the last N calls.
    Ring(Box<Ring>),
}

impl CallWindow {
    /// A run of no failures.
    pub const NO_RUN: Self = Self::Run { failures: 0, reporters: None };

    /// An empty window. `slow` says whether slow calls are counted.
    pub fn new(kind: WindowKind, slow: bool) -> Self {
        match kind {
            WindowKind::Run => Self::NO_RUN,
            WindowKind::Period(us) => Self::Slices(Box::new(Slices::new(us, slow))),
            WindowKind::Calls(calls) => Self::Ring(Box::new(Ring::new(calls, slow))),
        }
    }

    /// The kind of this window.
    pub fn kind(&self) -> WindowKind {
        match self {
            Self::Run { .. } => WindowKind::Run,
            Self::Slices(slices) => WindowKind::Period(slices.period_us()),
            Self::Ring(ring) => WindowKind::Calls(ring.size()),
        }
    }

    /// Forgets every call, without freeing memory.
    pub fn clear(&mut self) {
        match self {
            Self::Run { failures, reporters } => end_run(failures, reporters),
            Self::Slices(slices) => slices.clear(),
            Self::Ring(ring) => ring.clear(),
        }
    }

    /// Records one call.
    #[inline]
    pub fn record(&mut self, now: Micros, call: CallOutcome) {
        match self {
            // A circuit that is forced closed goes on counting. The cap keeps the number within
            // what the encoding accepts.
            Self::Run { failures, reporters } if call.failed => {
                *failures = failures.saturating_add(1).min(MAX_COUNT);
                if let Some(reporters) = reporters {
                    reporters.note(call, RUN_PLACE);
                }
            }
            Self::Run { failures, reporters } => end_run(failures, reporters),
            Self::Slices(slices) => slices.record(now, call),
            Self::Ring(ring) => ring.record(call),
        }
    }

    /// The calls that it remembers at `now`.
    #[inline]
    pub fn tally(&self, now: Micros) -> CallTally {
        match self {
            Self::Run { failures, .. } => {
                CallTally { calls: (*failures).into(), failures: (*failures).into(), slow: 0 }
            }
            Self::Slices(slices) => slices.tally(now),
            Self::Ring(ring) => ring.tally(),
        }
    }

    /// The number of different reporters that it knows at `now`.
    pub fn reporters(&self, now: Micros) -> ReporterTally {
        let told = match self {
            Self::Run { reporters, .. } => reporters.as_ref().map(|reporters| reporters.tally(|_| true)),
            Self::Slices(slices) => slices.reporters(now),
            Self::Ring(ring) => ring.reporters(),
        };
        told.unwrap_or_else(|| {
            let tally = self.tally(now);
            ReporterTally::of_one(tally.failures, tally.slow)
        })
    }

    /// Whether reporters are counted separately.
    pub const fn tells_reporters(&self) -> bool {
        match self {
            Self::Run { reporters, .. } => reporters.is_some(),
            Self::Slices(slices) => slices.tells_reporters(),
            Self::Ring(ring) => ring.tells_reporters(),
        }
    }

    /// Counts reporters separately from now on. All earlier reports count as one reporter.
    pub fn tell_reporters(&mut self) {
        match self {
            Self::Run { failures, reporters } => {
                let last = (*failures > 0).then_some(RUN_PLACE);
                reporters.get_or_insert_with(|| Box::new(WindowReporters::of_one(false, last, None)));
            }
            Self::Slices(slices) => slices.tell_reporters(),
            Self::Ring(ring) => ring.tell_reporters(),
        }
    }

    /// Forgets calls that lie more than a period ahead of `now`.
    pub fn rewind(&mut self, now: Micros) {
        if let Self::Slices(slices) = self {
            slices.rewind(now);
        }
    }

    /// Whether slow calls are counted.
    pub const fn counts_slow(&self) -> bool {
        match self {
            Self::Run { .. } => false,
            Self::Slices(slices) => slices.counts_slow(),
            Self::Ring(ring) => ring.counts_slow(),
        }
    }

    /// Counts slow calls from now on. Earlier calls count as not slow.
    pub fn count_slow(&mut self) {
        match self {
            Self::Run { .. } => {}
            Self::Slices(slices) => slices.count_slow(),
            Self::Ring(ring) => ring.count_slow(),
        }
    }

    /// The memory outside the window into which a result is recorded.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self {
            Self::Run { .. } => None,
            Self::Slices(slices) => Some(PrefetchHint::of(&**slices)),
            Self::Ring(ring) => Some(PrefetchHint::of(&**ring)),
        }
    }

    /// Bytes on the heap, without the window itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Run { reporters, .. } => reporters.as_ref().map_or(0, |_| size_of::<WindowReporters>()),
            Self::Slices(slices) => size_of::<Slices>() + slices.heap_bytes(),
            Self::Ring(ring) => size_of::<Ring>() + ring.heap_bytes(),
        }
    }

    /// Appends the window to `out`, without its kind and without whether it counts slow calls and
    /// reporters.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run { failures, reporters } => {
                put_u64(out, (*failures).into());
                if let Some(reporters) = reporters {
                    reporters.write(out);
                }
            }
            Self::Slices(slices) => slices.write(out),
            Self::Ring(ring) => ring.write(out),
        }
    }

    /// Reads what [`CallWindow::write`] wrote for a window of this kind.
    pub fn read(reader: &mut Reader, kind: WindowKind, keeps: Keeps) -> Result<Self, Corrupt> {
        Ok(match kind {
            WindowKind::Run => {
                let failures = read_u32(reader, MAX_COUNT)?;
                let reporters = if keeps.reporters {
                    let place = |place| place == RUN_PLACE && failures > 0;
                    Some(Box::new(WindowReporters::read(reader, false, place)?))
                } else {
                    None
                };
                Self::Run { failures, reporters }
            }
            WindowKind::Period(us) => Self::Slices(Box::new(Slices::read(reader, us, keeps)?)),
            WindowKind::Calls(calls) => Self::Ring(Box::new(Ring::read(reader, calls, keeps)?)),
        })
    }
}

/// The place of every failure of a run.
const RUN_PLACE: u64 = 0;

fn end_run(failures: &mut u32, reporters: &mut Option<Box<WindowReporters>>) {
    *failures = 0;
    if let Some(reporters) = reporters {
        reporters.clear();
    }
}

/// Whether a breaker looks at slow calls.
pub(super) const fn looks_at_slow(breaker: &Breaker) -> bool {
    breaker.slow_us().is_some()
}
