//! The last N calls: a ring of one bit for each call that failed and one for
//! each that was slow, with running totals.

use crate::core::breaker::window::call::{CallOutcome, CallTally};
use crate::core::wire::{Corrupt, Reader, put_u64};

/// Calls in one word of a ring.
const WORD: u16 = 64;

/// The last `size` calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Ring {
    /// How many calls it holds when full.
    size: u16,
    /// How many it holds.
    len: u16,
    /// Where the next call goes; `len` until the ring is full for the first
    /// time, then the place of the oldest call.
    next: u16,
    failed: Bits,
    slow: Option<Bits>,
}

impl Ring {
    /// Empty; `slow` says whether slow calls are kept.
    pub fn new(size: u16, slow: bool) -> Self {
        Self { size, len: 0, next: 0, failed: Bits::new(size), slow: slow.then(|| Bits::new(size)) }
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
        self.len = self.len.saturating_add(1).min(self.size);
        self.next = if self.next + 1 >= self.size { 0 } else { self.next + 1 };
    }

    /// What it remembers.
    pub fn tally(&self) -> CallTally {
        CallTally {
            calls: self.len.into(),
            failures: self.failed.ones.into(),
            slow: self.slow.as_ref().map_or(0, |slow| slow.ones.into()),
        }
    }

    /// How many calls it looks back on.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Whether slow calls are kept.
    pub const fn counts_slow(&self) -> bool {
        self.slow.is_some()
    }

    /// Keeps slow calls from now on; so far there were none.
    pub fn count_slow(&mut self) {
        self.slow.get_or_insert_with(|| Bits::new(self.size));
    }

    /// Bytes on the heap besides itself.
    pub fn heap_bytes(&self) -> usize {
        self.failed.heap_bytes() + self.slow.as_ref().map_or(0, Bits::heap_bytes)
    }

    /// How many calls, where the next one goes when full, then the words that
    /// hold a call.
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
    pub fn read(reader: &mut Reader, size: u16, slow: bool) -> Result<Self, Corrupt> {
        let len = read_u16(reader, size)?;
        let next = if len == size { read_u16(reader, size.saturating_sub(1))? } else { len };
        let failed = Bits::read(reader, size, len)?;
        let slow = if slow { Some(Bits::read(reader, size, len)?) } else { None };
        Ok(Self { size, len, next, failed, slow })
    }
}

/// A row of bits and how many of them are set.
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

    fn heap_bytes(&self) -> usize {
        size_of_val::<[u64]>(&self.words)
    }

    /// The words that the first `len` bits are in.
    fn write(&self, out: &mut Vec<u8>, len: u16) {
        for &word in self.words.iter().take(len.div_ceil(WORD).into()) {
            put_u64(out, word);
        }
    }

    /// Reads what [`Bits::write`] wrote; bits after `len` must be 0.
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

/// A number of at most `max`.
fn read_u16(reader: &mut Reader, max: u16) -> Result<u16, Corrupt> {
    u16::try_from(reader.u64_to(max.into())?).map_err(|_| Corrupt("number out of range"))
}
