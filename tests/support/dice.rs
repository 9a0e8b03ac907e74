//! Random numbers that a seed repeats.

use std::env;

/// A generator: the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

/// A number that dice can be asked for.
pub trait Below: Sized {
    /// One from 0 on and below `n`; 0 where `n` is 0.
    fn below(random: &mut fastrand::Rng, n: Self) -> Self;
}

macro_rules! below {
    ($($number:ident),*) => {
        $(impl Below for $number {
            fn below(random: &mut fastrand::Rng, n: Self) -> Self {
                if n == 0 { 0 } else { random.$number(0..n) }
            }
        })*
    };
}
below!(u64, usize, i64, i32);

impl Dice {
    /// The same in every run.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// From `FLOODGATE_SEED`, else another one each time. Prints it, so that a
    /// failure tells how to repeat it.
    pub fn told() -> Self {
        let given = env::var("FLOODGATE_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| fastrand::u64(..));
        println!("to repeat: FLOODGATE_SEED={seed}");
        Self::new(seed)
    }

    /// Others that go their own way.
    pub fn split(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below `n`; 0 where `n` is 0.
    pub fn below<N: Below>(&mut self, n: N) -> N {
        N::below(&mut self.0, n)
    }

    /// True so often of a hundred times.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
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
        (0..self.below(most + 1)).map(|_| self.0.u8(..)).collect()
    }

    /// The bytes with a few of them changed, cut, doubled or removed.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.0.u8(..)),
                _ if at >= bytes.len() => {}
                2 => drop(bytes.remove(at)),
                3 => bytes[at] = self.0.u8(..),
                4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5usize)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}

#[test]
fn below_is_below_and_the_seed_repeats_it() {
    let (mut dice, mut again) = (Dice::new(1), Dice::new(1));
    for _ in 0..1000 {
        let numbers = (dice.below(3_u64), dice.below(3_usize), dice.below(3_i64), dice.below(3_i32));
        assert!(numbers.0 < 3 && numbers.1 < 3 && (0..3).contains(&numbers.2) && (0..3).contains(&numbers.3));
        assert_eq!(
            numbers,
            (again.below(3_u64), again.below(3_usize), again.below(3_i64), again.below(3_i32))
        );
    }
    assert_eq!(dice.below(0), 0);
}
