//! The window of the last N calls.
//!
//! It is a ring of one bit for each call that failed and one for each that was slow, with running
//! totals.

use super::call::{CallOutcome, CallTally, SlowCalls};
use super::reporters::WindowReporters;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The number of calls in one word of a ring.
const WORD: u16 = 64;

/// The last `size` calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Ring {
    /// The number of calls that it holds when full.
    size: u16,
    /// The number of calls that it holds now.
    len: u16,
    /// The place of the next call. It equals `len` until the ring is full for the first time; then
    /// it is the place of the oldest call.
    next: u16,
    failed: Bits,
    slow: Option<Bits>,
    /// The reporters, if they are counted separately. The place of a call is its place in the ring.
    pub reporters: Option<Box<WindowReporters>>,
}

impl Ring {
    /// An empty ring.
    pub fn new(size: u16, slow: SlowCalls) -> Self {
        let slow = slow.counter(|| Bits::new(size));
        Self { size, len: 0, next: 0, failed: Bits::new(size), slow, reporters: None }
    }

    /// Forgets every call.
    pub fn clear(&mut self) {
        self.len = 0;
        self.next = 0;
        self.failed.clear();
        if let Some(slow) = &mut self.slow {
            slow.clear();
        }
    }

    /// Records a call in place of the oldest one.
    pub fn record(&mut self, call: CallOutcome) {
        self.failed.set(self.next, call.failed);
        if let Some(slow) = &mut self.slow {
            slow.set(self.next, call.slow);
        }
        if let Some(reporters) = &mut self.reporters {
            let place = u64::from(self.next);
            reporters.keep(|other| other != place);
            reporters.note(call, place);
        }
        self.len = self.len.saturating_add(1).min(self.size);
        self.next = if self.next + 1 >= self.size { 0 } else { self.next + 1 };
    }

    /// The calls that it remembers.
    pub fn tally(&self) -> CallTally {
        CallTally {
            calls: self.len.into(),
            failures: self.failed.ones.into(),
            slow: self.slow.as_ref().map_or(0, |slow| slow.ones.into()),
        }
    }

    /// The places of the last failure and of the last slow call.
    pub fn last_calls(&self) -> (Option<u64>, Option<u64>) {
        let last = |bits: &Bits| {
            let newest_first = (0..self.next).rev().chain((self.next..self.len).rev());
            newest_first.into_iter().find(|&at| bits.get(at)).map(u64::from)
        };
        (last(&self.failed), self.slow.as_ref().and_then(last))
    }

    /// True if it holds a call at this place.
    pub fn has(&self, place: u64) -> bool {
        place < u64::from(self.len)
    }

    /// The number of calls that it looks back on.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Whether slow calls are counted.
    pub const fn slow_calls(&self) -> SlowCalls {
        SlowCalls::by(self.slow.as_ref())
    }

    /// Counts slow calls from now on. Earlier calls count as not slow.
    pub fn count_slow(&mut self) {
        self.slow.get_or_insert_with(|| Bits::new(self.size));
    }

    /// Bytes on the heap, without the ring itself and its reporters.
    pub fn heap_bytes(&self) -> usize {
        self.failed.heap_bytes() + self.slow.as_ref().map_or(0, Bits::heap_bytes)
    }

    /// Appends the ring to `out`: the number of calls, the place of the next one if the ring is
    /// full, then the words that hold a call.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.len.into());
        if self.len == self.size {
            put_u64(out, self.next.into());
        }
        self.failed.write(out, self.len);
        if let Some(slow) = &self.slow {
            slow.write(out, self.len);
        }
    }

    /// Reads what [`Ring::write`] wrote.
    pub fn read(reader: &mut Reader, size: u16, slow: SlowCalls) -> Result<Self, Corrupt> {
        let len = reader.number_to(size)?;
        let next = if len == size { reader.number_to(size.saturating_sub(1))? } else { len };
        let failed = Bits::read(reader, size, len)?;
        let slow = slow.counter(|| Bits::read(reader, size, len)).transpose()?;
        Ok(Self { size, len, next, failed, slow, reporters: None })
    }
}

/// A row of bits, and how many of them are set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bits {
    words: Box<[u64]>,
    ones: u16,
}

impl Bits {
    fn new(size: u16) -> Self {
        Self { words: vec![0; size.div_ceil(WORD).into()].into_boxed_slice(), ones: 0 }
    }

    fn clear(&mut self) {
        self.words.fill(0);
        self.ones = 0;
    }

    fn set(&mut self, at: u16, on: bool) {
        let mask = 1u64 << (at % WORD);
        if let Some(word) = self.words.get_mut(usize::from(at / WORD)) {
            let was = *word & mask != 0;
            *word = if on { *word | mask } else { *word & !mask };
            self.ones = (self.ones + u16::from(on)).saturating_sub(u16::from(was));
        }
    }

    fn get(&self, at: u16) -> bool {
        self.words.get(usize::from(at / WORD)).is_some_and(|word| word & 1 << (at % WORD) != 0)
    }

    fn heap_bytes(&self) -> usize {
        size_of_val::<[u64]>(&self.words)
    }

    /// Appends the words that contain the first `len` bits.
    fn write(&self, out: &mut Vec<u8>, len: u16) {
        for &word in self.words.iter().take(len.div_ceil(WORD).into()) {
            put_u64(out, word);
        }
    }

    /// Reads what [`Bits::write`] wrote. Bits after `len` must be 0.
    fn read(reader: &mut Reader, size: u16, len: u16) -> Result<Self, Corrupt> {
        let mut bits = Self::new(size);
        let mut rest = len;
        for word in bits.words.iter_mut().take(len.div_ceil(WORD).into()) {
            let used = rest.min(WORD);
            *word = reader.u64_to(u64::MAX.checked_shr(u32::from(WORD - used)).unwrap_or(0))?;
            rest -= used;
            bits.ones += u16::try_from(word.count_ones()).unwrap_or(0);
        }
        Ok(bits)
    }
}
