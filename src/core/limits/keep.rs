//! `keep=`: a part of a capacity for critical requests only.

use crate::core::text::percent::Percent;

/// The part of a capacity that only CRITICAL requests may use (`keep=P%`): 0% or more, and less
/// than 100%.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Keep(pub(super) Percent);

impl Keep {
    /// No part is kept.
    pub(super) const NONE: Self = Self(Percent::NONE);

    /// Checks a share; `None` at 100%.
    pub fn new(share: Percent) -> Option<Self> {
        (share < Percent::ALL).then_some(Self(share))
    }

    /// The part of `capacity` that requests may use that are not critical. The kept part is rounded
    /// down to whole units: `capacity - floor(capacity * P / 100)`.
    #[inline]
    pub fn usable(self, capacity: u64) -> u64 {
        if self == Self::NONE {
            return capacity;
        }
        // The kept part is less than the capacity, because P is below 100.
        capacity.saturating_sub(self.0.units(capacity))
    }
}
