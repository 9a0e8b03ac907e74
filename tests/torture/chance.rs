//! Random numbers that a seed repeats.

use std::{env, process, time};

/// A generator (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From `FLOODGATE_SEED`, else another one each time. Prints it, so that a
    /// failure tells how to repeat it.
    pub fn new() -> Self {
        let given = env::var("FLOODGATE_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = time::SystemTime::now().duration_since(time::UNIX_EPOCH).expect("after 1970");
            now.as_secs() << 20 ^ u64::from(now.subsec_nanos()) ^ u64::from(process::id())
        });
        println!("to repeat: FLOODGATE_SEED={seed}");
        Self(seed)
    }

    /// Another generator that goes its own way.
    pub fn split(&mut self) -> Self {
        Self(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % n.max(1) as u64).expect("below n")
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// Up to `most` bytes of any kind.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.bits().to_le_bytes()[0]).collect()
    }

    /// The bytes with a few of them changed, cut, doubled or removed.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.bits().to_le_bytes()[0]),
                _ if at >= bytes.len() => {}
                2 => drop(bytes.remove(at)),
                3 => bytes[at] = self.bits().to_le_bytes()[0],
                4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}
