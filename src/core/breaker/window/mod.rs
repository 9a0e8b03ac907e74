//! What a closed circuit remembers of its calls: one file for each kind of
//! memory, and here the table that says which trip uses which.

mod call;
mod ring;
mod slices;

use super::spec::{Breaker, MAX_COUNT, Trip};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};
pub(super) use call::CallOutcome;
pub use call::CallTally;
use call::read_u32;
use ring::Ring;
use slices::Slices;

/// The memory of a closed circuit. Its size depends on the breaker alone: what
/// it needs on the heap is taken when it is made, never while it records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallWindow {
    /// `N`: failures since the last success.
    Run(u32),
    /// `N/period` and `P%/period`.
    Slices(Box<Slices>),
    /// `P%/Ncalls`.
    Ring(Box<Ring>),
}

impl CallWindow {
    /// Empty, as `breaker` needs it.
    pub fn new(breaker: &Breaker) -> Self {
        let slow = breaker.slow_us().is_some();
        match breaker.trip() {
            Trip::Consecutive { .. } => Self::Run(0),
            Trip::Count { .. } | Trip::RatePeriod { .. } => Self::Slices(Box::new(Slices::new(slow))),
            Trip::RateCalls { calls, .. } => Self::Ring(Box::new(Ring::new(calls, slow))),
        }
    }

    /// Forgets every call, keeping the room.
    pub fn clear(&mut self) {
        match self {
            Self::Run(failures) => *failures = 0,
            Self::Slices(slices) => slices.clear(),
            Self::Ring(ring) => ring.clear(),
        }
    }

    /// Records one call.
    pub fn record(&mut self, breaker: &Breaker, now: Micros, call: CallOutcome) {
        match (self, breaker.trip()) {
            // A forced-closed circuit goes on counting: the cap keeps the
            // number within what the encoding accepts.
            (Self::Run(failures), _) if call.failed => *failures = failures.saturating_add(1).min(MAX_COUNT),
            (Self::Run(failures), _) => *failures = 0,
            (Self::Slices(slices), Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. }) => {
                slices.record(period_us, now, call);
            }
            (Self::Slices(_), _) => {} // a window always fits its breaker
            (Self::Ring(ring), _) => ring.record(call),
        }
    }

    /// What it remembers at `now`.
    pub fn tally(&self, breaker: &Breaker, now: Micros) -> CallTally {
        match (self, breaker.trip()) {
            (Self::Run(failures), _) => {
                CallTally { calls: (*failures).into(), failures: (*failures).into(), slow: 0 }
            }
            (Self::Slices(slices), Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. }) => {
                slices.tally(period_us, now)
            }
            (Self::Slices(_), _) => CallTally::default(),
            (Self::Ring(ring), _) => ring.tally(),
        }
    }

    /// Adapts to a breaker with the same trip, which may have begun or stopped
    /// to look at slow calls.
    pub fn fit(&mut self, breaker: &Breaker) {
        let slow = breaker.slow_us().is_some();
        match self {
            Self::Run(_) => {}
            Self::Slices(slices) => slices.fit(slow),
            Self::Ring(ring) => ring.fit(slow),
        }
    }

    /// What a result is recorded in, outside of itself.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        match self {
            Self::Run(_) => None,
            Self::Slices(slices) => Some(PrefetchHint::of(&**slices)),
            Self::Ring(ring) => Some(PrefetchHint::of(&**ring)),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Run(_) => 0,
            Self::Slices(slices) => size_of::<Slices>() + slices.heap_bytes(),
            Self::Ring(ring) => size_of::<Ring>() + ring.heap_bytes(),
        }
    }

    /// Appends it to `out`. The kind is not written: the breaker says it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run(failures) => put_u64(out, (*failures).into()),
            Self::Slices(slices) => slices.write(out),
            Self::Ring(ring) => ring.write(out),
        }
    }

    /// Reads what [`CallWindow::write`] wrote under the same breaker.
    pub fn read(reader: &mut Reader, breaker: &Breaker) -> Result<Self, Corrupt> {
        let slow = breaker.slow_us().is_some();
        Ok(match breaker.trip() {
            Trip::Consecutive { .. } => Self::Run(read_u32(reader, MAX_COUNT)?),
            Trip::Count { .. } | Trip::RatePeriod { .. } => {
                Self::Slices(Box::new(Slices::read(reader, slow)?))
            }
            Trip::RateCalls { calls, .. } => Self::Ring(Box::new(Ring::read(reader, calls, slow)?)),
        })
    }
}
