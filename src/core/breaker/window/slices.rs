//! The window of a sliding period, in sixteen slices: the current sixteenth of the period and the
//! fifteen before it. Slices are aligned to the Unix epoch.
//!
//! Slices are kept newest first. When time passes, at most sixteen counters are shifted, once a
//! slice. Recording a call is two additions.

use super::call::{CallOutcome, CallTally, SlowCalls};
use super::reporters::WindowReporters;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};
use std::ops::Range;

/// The number of slices in a period.
const SLICES: usize = 16;
/// The number of slices in a period, for arithmetic on times.
const SLICES_U64: u64 = 16;
/// The number of the latest slice of any period: that of the clock's last time, in sixteenths of
/// the shortest period.
const LAST_SLICE: u64 = Micros::MAX.0 * SLICES_U64 / 1000;

/// One count for each slice, newest first.
type Counts = [u32; SLICES];

/// Calls and failures of a sliding period. Slow calls are counted if a breaker looks at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Slices {
    /// The length of the period in microseconds.
    period_us: u64,
    /// The number of the newest slice, counted from the Unix epoch.
    newest: u64,
    calls: Counts,
    failures: Counts,
    slow: Option<Box<Counts>>,
    /// The reporters, if they are counted separately. The place of a call is the number of its
    /// slice.
    pub reporters: Option<Box<WindowReporters>>,
}

impl Slices {
    /// An empty window.
    pub fn new(period_us: u64, slow: SlowCalls) -> Self {
        Self {
            period_us,
            newest: 0,
            calls: [0; SLICES],
            failures: [0; SLICES],
            slow: slow.counter(|| Box::new([0; SLICES])),
            reporters: None,
        }
    }

    /// Forgets every call.
    pub fn clear(&mut self) {
        self.newest = 0;
        self.calls = [0; SLICES];
        self.failures = [0; SLICES];
        if let Some(slow) = &mut self.slow {
            **slow = [0; SLICES];
        }
    }

    /// The length of the period in microseconds.
    pub const fn period_us(&self) -> u64 {
        self.period_us
    }

    /// Records a call in the slice of `now`.
    pub fn record(&mut self, now: Micros, call: CallOutcome) {
        self.advance(slice_of(self.period_us, now));
        bump(&mut self.calls);
        if call.failed {
            bump(&mut self.failures);
        }
        if call.slow
            && let Some(slow) = &mut self.slow
        {
            bump(slow);
        }
        if (call.failed || call.slow)
            && let Some(reporters) = &mut self.reporters
        {
            reporters.note(call, self.newest);
        }
    }

    /// Makes `slice` the newest one.
    ///
    /// After the clock stepped back by up to a period, calls are recorded in the newest slice until
    /// time has caught up.
    fn advance(&mut self, slice: u64) {
        let passed = slice.saturating_sub(self.newest);
        if passed > 0 {
            // The oldest counts rotate to the front and are zeroed there.
            let shift = usize::try_from(passed).map_or(SLICES, |passed| passed.min(SLICES));
            for counts in self.all_counts() {
                counts.rotate_right(shift);
                counts.iter_mut().take(shift).for_each(|count| *count = 0);
            }
            self.newest = slice;
            if let Some(reporters) = &mut self.reporters {
                reporters.keep(|place| slice.saturating_sub(place) < SLICES_U64);
            }
        } else {
            self.forget_far(slice);
        }
    }

    /// Forgets the slices that lie more than a period ahead of `now`, after the
    /// clock stepped back.
    pub fn rewind(&mut self, now: Micros) {
        self.forget_far(slice_of(self.period_us, now));
    }

    fn forget_far(&mut self, slice: u64) {
        let far = far_ahead(self.newest, slice);
        if far == 0 {
            return;
        }
        for counts in self.all_counts() {
            counts.rotate_left(far);
            counts.iter_mut().rev().take(far).for_each(|count| *count = 0);
        }
        let newest = if far == SLICES { slice } else { self.newest - far as u64 };
        self.newest = newest;
        if let Some(reporters) = &mut self.reporters {
            reporters.keep(|place| place <= newest);
        }
    }

    fn all_counts(&mut self) -> impl Iterator<Item = &mut Counts> {
        [&mut self.calls, &mut self.failures].into_iter().chain(self.slow.as_deref_mut())
    }

    /// The calls within the period that ends at `now`.
    pub fn tally(&self, now: Micros) -> CallTally {
        let Range { start: far, end: live } = self.within(now);
        let sum = |counts: &Counts| counts.iter().take(live).skip(far).map(|&count| u64::from(count)).sum();
        CallTally {
            calls: sum(&self.calls),
            failures: sum(&self.failures),
            slow: self.slow.as_deref().map_or(0, sum),
        }
    }

    /// The indices of the slices within the period that ends at `now`. The newest slice is 0.
    fn within(&self, now: Micros) -> Range<usize> {
        let slice = slice_of(self.period_us, now);
        let passed = slice.saturating_sub(self.newest);
        let live = usize::try_from(passed).map_or(0, |passed| SLICES.saturating_sub(passed));
        far_ahead(self.newest, slice)..live
    }

    /// The numbers of the slices within the period that ends at `now`.
    pub fn numbers_within(&self, now: Micros) -> Range<u64> {
        let Range { start: far, end: live } = self.within(now);
        let next = self.newest + 1;
        next.saturating_sub(live as u64)..next.saturating_sub(far as u64)
    }

    /// The numbers of the slices of the last failure and of the last slow call.
    pub fn last_calls(&self) -> (Option<u64>, Option<u64>) {
        let last = |counts: &Counts| {
            let age = (0..).zip(counts).find(|&(_, &count)| count > 0)?.0;
            self.newest.checked_sub(age)
        };
        (last(&self.failures), self.slow.as_deref().and_then(last))
    }

    /// True if it holds the slice of this number.
    pub fn has(&self, slice: u64) -> bool {
        slice <= self.newest && self.newest - slice < SLICES_U64
    }

    /// Whether slow calls are counted.
    pub const fn slow_calls(&self) -> SlowCalls {
        SlowCalls::by(self.slow.as_ref())
    }

    /// Counts slow calls from now on. Earlier calls count as not slow.
    pub fn count_slow(&mut self) {
        self.slow.get_or_insert_with(|| Box::new([0; SLICES]));
    }

    /// Bytes on the heap, without this value itself and its reporters.
    pub fn heap_bytes(&self) -> usize {
        self.slow.as_ref().map_or(0, |_| size_of::<Counts>())
    }

    /// Appends the slices to `out`: the number of the newest, how many follow up to the last that
    /// holds a call, then the calls, failures and, if counted, slow calls of each.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.newest);
        let used = self.calls.iter().rposition(|&calls| calls > 0).map_or(0, |last| last + 1);
        put_u64(out, used as u64);
        let slow = self.slow.as_deref().unwrap_or(&[0; SLICES]);
        for ((&calls, &failures), &slow) in self.calls.iter().zip(&self.failures).zip(slow).take(used) {
            put_u64(out, calls.into());
            put_u64(out, failures.into());
            if self.slow.is_some() {
                put_u64(out, slow.into());
            }
        }
    }

    /// Reads what [`Slices::write`] wrote.
    pub fn read(reader: &mut Reader, period_us: u64, slow: SlowCalls) -> Result<Self, Corrupt> {
        let mut slices = Self::new(period_us, slow);
        slices.newest = reader.u64_to(LAST_SLICE)?;
        let used = usize::try_from(reader.u64_to(SLICES_U64)?).map_err(|_| Corrupt("number out of range"))?;
        let mut last = 1;
        for slice in 0..used {
            last = reader.number_to(u32::MAX)?;
            put(&mut slices.calls, slice, last);
            put(&mut slices.failures, slice, reader.number_to(last)?);
            if let Some(slow) = &mut slices.slow {
                put(slow, slice, reader.number_to(last)?);
            }
        }
        if last == 0 {
            return Err(Corrupt("padded window"));
        }
        Ok(slices)
    }
}

/// The number of the slice that holds `now`, counted from the Unix epoch.
fn slice_of(period_us: u64, now: Micros) -> u64 {
    now.0.saturating_mul(SLICES_U64) / period_us.max(1)
}

/// The number of slices that lie more than a period ahead of `slice`.
fn far_ahead(newest: u64, slice: u64) -> usize {
    let far = newest.saturating_sub(slice).saturating_sub(SLICES_U64);
    usize::try_from(far).map_or(SLICES, |far| far.min(SLICES))
}

/// Counts one more call in the newest slice.
fn bump(counts: &mut Counts) {
    let [newest, ..] = counts;
    *newest = newest.saturating_add(1);
}

/// Sets the count of one slice.
fn put(counts: &mut Counts, slice: usize, count: u32) {
    if let Some(slot) = counts.get_mut(slice) {
        *slot = count;
    }
}
