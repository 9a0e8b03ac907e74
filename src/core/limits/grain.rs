//! The grains of a sliding limit: what the positions of its slots mean, and how many slots there
//! can be.

use super::algorithm::MAX_UNITS;

/// The most slots.
pub const MAX_SLOTS: usize = 64;

/// The meaning of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// A time in microseconds. A slot has 46 bits for its distance (more than two years) and 18
    /// bits for its units.
    Exact,
    /// The number of an interval since the epoch. A slot has 16 bits for its distance and 48 bits
    /// for its units.
    Coarse,
}

impl Grain {
    pub(super) const fn unit_bits(self) -> u32 {
        match self {
            Self::Exact => 18,
            Self::Coarse => 48,
        }
    }

    /// The most units at one position.
    pub const fn max_units(self) -> u64 {
        (1 << self.unit_bits()) - 1
    }

    /// The largest distance between two positions.
    pub const fn max_distance(self) -> u64 {
        u64::MAX >> self.unit_bits()
    }
}

const _: () = assert!(Grain::Coarse.max_units() == MAX_UNITS);
