//! The usage of one window, and the ways to pack it into one number.

use super::window::Window;
use crate::core::text::duration::MILLISECOND;
use crate::core::time::Micros;

/// The usage of the window in which the last grant fell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCount {
    pub(super) window: Window,
    pub(super) used: u64,
}

/// One way to pack a window and its usage: start and length in whole steps of so many microseconds.
struct Packing {
    start_us: u64,
    start_bits: u32,
    length_us: u64,
    length_bits: u32,
}

impl Packing {
    /// The bits of all three numbers together.
    const BITS: u32 = 92;

    /// Windows of whole seconds: up to two years and 2^33 units.
    const SECONDS: Self = Self { start_us: 1_000_000, start_bits: 33, length_us: 1_000_000, length_bits: 26 };
    /// Windows of whole milliseconds: up to four hours and 2^26 units.
    const MILLIS: Self = Self { start_us: 1_000, start_bits: 42, length_us: 1_000, length_bits: 24 };
    /// Windows of whole seconds from any first grant: up to 48 days and 2^18 units.
    const FROM_FIRST: Self =
        Self { start_us: 1, start_bits: Micros::BITS, length_us: 1_000_000, length_bits: 22 };

    const fn used_bits(&self) -> u32 {
        Self::BITS - self.start_bits - self.length_bits
    }

    /// A number below 2^92, or `None` if the usage does not fit.
    #[inline]
    fn pack(&self, usage: &WindowCount) -> Option<u128> {
        let Window { start: Micros(start), end: Micros(end) } = usage.window;
        let length = end.checked_sub(start)?;
        let whole = start.is_multiple_of(self.start_us) && length.is_multiple_of(self.length_us);
        let (start, length, used_bits) = (start / self.start_us, length / self.length_us, self.used_bits());
        let fits =
            start >> self.start_bits == 0 && length >> self.length_bits == 0 && usage.used >> used_bits == 0;
        (whole && fits).then_some(
            (u128::from(start) << self.length_bits | u128::from(length)) << used_bits
                | u128::from(usage.used),
        )
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // cut to their bits
    fn unpack(&self, bits: u128) -> WindowCount {
        let part = |from: u32, len: u32| (bits >> from) as u64 & ((1 << len) - 1);
        let used_bits = self.used_bits();
        let start = Micros(part(used_bits + self.length_bits, self.start_bits) * self.start_us);
        let length = part(used_bits, self.length_bits) * self.length_us;
        WindowCount { window: Window { start, end: start.plus(length) }, used: part(0, used_bits) }
    }
}

/// The packing of a credit: the start in whole milliseconds, up to 2^48 units.
struct CreditPacking;

impl CreditPacking {
    const USED_BITS: u32 = 48;
    const START_BITS: u32 = Packing::BITS - Self::USED_BITS;

    /// A number below 2^92, or `None` if the usage does not fit.
    fn pack(usage: &WindowCount) -> Option<u128> {
        let Window { start: Micros(start), end } = usage.window;
        let whole = end == Micros::NEVER && start.is_multiple_of(MILLISECOND);
        let start = start / MILLISECOND;
        let fits = start >> Self::START_BITS == 0 && usage.used >> Self::USED_BITS == 0;
        (whole && fits).then_some(u128::from(start) << Self::USED_BITS | u128::from(usage.used))
    }

    #[allow(clippy::cast_possible_truncation)] // cut to their bits
    fn unpack(bits: u128) -> WindowCount {
        let part = |from: u32, len: u32| (bits >> from) as u64 & ((1 << len) - 1);
        let start = Micros(part(Self::USED_BITS, Self::START_BITS) * MILLISECOND);
        WindowCount { window: Window { start, end: Micros::NEVER }, used: part(0, Self::USED_BITS) }
    }
}

impl WindowCount {
    /// [`WindowCount::bits`] is below 2 to this power: one of four packings, and two bits that tell
    /// which.
    pub const BITS: u32 = Packing::BITS + 2;

    /// The whole state as one number below 2^94, or `None` if it does not fit.
    #[inline]
    pub fn bits(&self) -> Option<u128> {
        let tag = |tag: u128| move |bits: u128| tag << Packing::BITS | bits;
        (Packing::SECONDS.pack(self).map(tag(0)))
            .or_else(|| Packing::MILLIS.pack(self).map(tag(1)))
            .or_else(|| Packing::FROM_FIRST.pack(self).map(tag(2)))
            .or_else(|| CreditPacking::pack(self).map(tag(3)))
    }

    /// The inverse of [`WindowCount::bits`].
    #[inline]
    pub fn from_bits(bits: u128) -> Self {
        match bits >> Packing::BITS {
            0 => Packing::SECONDS.unpack(bits),
            1 => Packing::MILLIS.unpack(bits),
            2 => Packing::FROM_FIRST.unpack(bits),
            _ => CreditPacking::unpack(bits),
        }
    }
}
