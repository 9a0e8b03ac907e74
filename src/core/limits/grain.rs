//! What the positions of a sliding limit's slots are, and how many there may be.

use super::algorithm::MAX_UNITS;

/// The most positions.
pub const MAX_SLOTS: usize = 64;

/// What a position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// A time in microseconds; 46 bits of distance (more than two years), 18
    /// bits of units.
    Exact,
    /// The number of an interval since the epoch; 16 bits of distance, 48 bits
    /// of units.
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

    /// The largest distance of two positions.
    pub const fn max_distance(self) -> u64 {
        u64::MAX >> self.unit_bits()
    }
}

const _: () = assert!(Grain::Coarse.max_units() == MAX_UNITS);
