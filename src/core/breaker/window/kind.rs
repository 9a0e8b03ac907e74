//! The kinds of windows, and which trip uses which.

use super::call::{CallOutcome, CallTally, Keeps, SlowCalls};
use super::reporters::{ReporterTally, WindowReporters};
use super::ring::Ring;
use super::slices::Slices;
use crate::core::breaker::spec::{MAX_COUNT, Trip};
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

    /// An empty window.
    pub fn new(kind: WindowKind, slow: SlowCalls) -> Self {
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

    /// The reporters, if they are counted separately.
    const fn told(&self) -> Option<&WindowReporters> {
        let told = match self {
            Self::Run { reporters, .. } => reporters,
            Self::Slices(slices) => &slices.reporters,
            Self::Ring(ring) => &ring.reporters,
        };
        if let Some(told) = told { Some(&**told) } else { None }
    }

    const fn told_mut(&mut self) -> &mut Option<Box<WindowReporters>> {
        match self {
            Self::Run { reporters, .. } => reporters,
            Self::Slices(slices) => &mut slices.reporters,
            Self::Ring(ring) => &mut ring.reporters,
        }
    }

    /// Forgets every call, without freeing memory.
    #[inline]
    pub fn clear(&mut self) {
        match self {
            Self::Run { failures, .. } => *failures = 0,
            Self::Slices(slices) => slices.clear(),
            Self::Ring(ring) => ring.clear(),
        }
        if let Some(reporters) = self.told_mut() {
            reporters.clear();
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
            Self::Run { .. } => self.clear(),
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
        match (self, self.told()) {
            (Self::Slices(slices), Some(told)) => {
                let within = slices.numbers_within(now);
                told.tally(|slice| within.contains(&slice))
            }
            (_, Some(told)) => told.tally(|_| true),
            (_, None) => {
                let tally = self.tally(now);
                ReporterTally::of_one(tally.failures, tally.slow)
            }
        }
    }

    /// True if reporters are counted separately.
    pub const fn tells_reporters(&self) -> bool {
        self.told().is_some()
    }

    /// Counts reporters separately from now on. All earlier reports count as one reporter.
    pub fn tell_reporters(&mut self) {
        if self.told().is_none() {
            let (failure, slow) = match self {
                Self::Run { failures, .. } => ((*failures > 0).then_some(RUN_PLACE), None),
                Self::Slices(slices) => slices.last_calls(),
                Self::Ring(ring) => ring.last_calls(),
            };
            let told = WindowReporters::of_one(self.slow_calls(), failure, slow);
            *self.told_mut() = Some(Box::new(told));
        }
    }

    /// Forgets calls that lie more than a period ahead of `now`.
    pub fn rewind(&mut self, now: Micros) {
        if let Self::Slices(slices) = self {
            slices.rewind(now);
        }
    }

    /// Whether slow calls are counted.
    pub const fn slow_calls(&self) -> SlowCalls {
        match self {
            Self::Run { .. } => SlowCalls::Ignored,
            Self::Slices(slices) => slices.slow_calls(),
            Self::Ring(ring) => ring.slow_calls(),
        }
    }

    /// Counts slow calls from now on. Earlier calls count as not slow.
    pub fn count_slow(&mut self) {
        match self {
            Self::Run { .. } => {}
            Self::Slices(slices) => slices.count_slow(),
            Self::Ring(ring) => ring.count_slow(),
        }
        if self.slow_calls().are_counted()
            && let Some(reporters) = self.told_mut()
        {
            reporters.count_slow();
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
        let calls = match self {
            Self::Run { .. } => 0,
            Self::Slices(slices) => size_of::<Slices>() + slices.heap_bytes(),
            Self::Ring(ring) => size_of::<Ring>() + ring.heap_bytes(),
        };
        calls + self.told().map_or(0, |told| size_of::<WindowReporters>() + told.heap_bytes())
    }

    /// Appends the window to `out`, without its kind and without whether it counts slow calls and
    /// reporters.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run { failures, .. } => put_u64(out, (*failures).into()),
            Self::Slices(slices) => slices.write(out),
            Self::Ring(ring) => ring.write(out),
        }
        if let Some(told) = self.told() {
            told.write(out);
        }
    }

    /// Reads what [`CallWindow::write`] wrote for a window of this kind.
    pub fn read(reader: &mut Reader, kind: WindowKind, keeps: Keeps) -> Result<Self, Corrupt> {
        let mut window = match kind {
            WindowKind::Run => Self::Run { failures: reader.number_to(MAX_COUNT)?, reporters: None },
            WindowKind::Period(us) => Self::Slices(Box::new(Slices::read(reader, us, keeps.slow)?)),
            WindowKind::Calls(calls) => Self::Ring(Box::new(Ring::read(reader, calls, keeps.slow)?)),
        };
        if keeps.reporters {
            let told = WindowReporters::read(reader, window.slow_calls(), |place| window.has(place))?;
            *window.told_mut() = Some(Box::new(told));
        }
        Ok(window)
    }

    /// True if a call can be at this place.
    fn has(&self, place: u64) -> bool {
        match self {
            Self::Run { failures, .. } => place == RUN_PLACE && *failures > 0,
            Self::Slices(slices) => slices.has(place),
            Self::Ring(ring) => ring.has(place),
        }
    }
}

/// The place of every failure of a run.
const RUN_PLACE: u64 = 0;
