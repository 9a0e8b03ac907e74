//! Bytes as a row of decisions.

use floodgate::core::time::Micros;

/// Longest time that one step takes, in microseconds: a little over a year.
const LONGEST_STEP: u64 = 400 * 24 * 3_600_000_000;

/// Hands out the input piece by piece; zeros when it has run out.
pub struct Draw<'a>(pub &'a [u8]);

impl<'a> Draw<'a> {
    /// True when nothing is left.
    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number of any size, small ones more often.
    pub fn number(&mut self) -> u64 {
        let bits = u32::from(self.byte()) % 65;
        if bits == 0 { 0 } else { self.u64() >> (64 - bits) }
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = (usize::from(self.byte()) * 4).min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        self.0 = rest;
        head
    }

    /// Goes on in time, mostly forward, to the microsecond or by much.
    pub fn step(&mut self, now: &mut Micros) {
        let far = self.number() % LONGEST_STEP;
        *now = match self.byte() % 8 {
            0 => *now,
            1 => now.minus(far),
            2 => now.plus(1),
            3 => now.plus(far),
            4 => now.plus(far % 1000),
            _ => now.plus(far % 10_000_000),
        }
        .min(Micros::MAX);
    }

    /// Goes on in time, never back.
    pub fn forward(&mut self, now: &mut Micros) {
        let far = self.number() % LONGEST_STEP;
        let step = match self.byte() % 8 {
            0 => 0,
            1 => 1,
            2 => far,
            3 => far % 1000,
            4 => far % 1_000_000,
            _ => far % 100_000_000,
        };
        *now = now.plus(step).min(Micros::MAX);
    }
}

/// A time at which the histories begin: November 2026.
pub const START: Micros = Micros(1_795_000_000_000_000);
