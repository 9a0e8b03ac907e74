//! The grants of a sliding limit in time: up to 64 positions with units each, oldest first, each
//! packed into eight bytes.
//!
//! A position is a time in microseconds ([`Grain::Exact`]), or the number of an interval of a
//! fiftieth of the period ([`Grain::Coarse`]). The position of the oldest slot is kept whole; the
//! others are kept as distances from it.

use super::grain::{Grain, MAX_SLOTS};
use super::store::Store;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use std::fmt;

/// The units at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// A time in microseconds or the number of an interval, by the grain.
    pub position: u64,
    /// The number of units, at least 1.
    pub units: u64,
}

/// Slots in order of position. No two have the same position.
#[derive(Clone)]
pub struct Slots {
    /// The position of the oldest slot, shifted by one bit, and the grain in the lowest bit. It is
    /// 0 if there is no slot and the grain is exact.
    head: u64,
    store: Store,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(Grain::Exact)
    }
}

impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.store.slots() == other.store.slots()
    }
}

impl Eq for Slots {}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.grain())?;
        f.debug_map().entries(self.iter().map(|slot| (slot.position, slot.units))).finish()
    }
}

impl Slots {
    /// No slots.
    pub const fn new(grain: Grain) -> Self {
        Self { head: matches!(grain, Grain::Coarse) as u64, store: Store::one(0) }
    }

    /// [`Slots::bits`] is below 2 to this power: a position, as many units as the largest count,
    /// and the grain.
    pub const BITS: u32 = Micros::BITS + Self::UNIT_BITS + 1;

    const UNIT_BITS: u32 = 40;

    /// The whole state as one number below 2^93. `None` unless it is one slot of fewer than 2^40
    /// units within the time that the library accepts.
    #[inline]
    pub fn bits(&self) -> Option<u128> {
        let &[units] = self.store.slots() else { return None };
        // The only slot is the oldest. Its distance is 0, so the packed number is its units.
        let fits = units <= self.grain().max_units()
            && units >> Self::UNIT_BITS == 0
            && self.base() <= Micros::MAX.0;
        fits.then_some(u128::from(self.head) << Self::UNIT_BITS | u128::from(units))
    }

    /// The inverse of [`Slots::bits`].
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the two parts
    pub const fn from_bits(bits: u128) -> Self {
        let units = bits as u64 & ((1 << Self::UNIT_BITS) - 1);
        Self { head: (bits >> Self::UNIT_BITS) as u64, store: Store::one(units) }
    }

    /// The grain, which says what positions mean.
    #[inline]
    pub const fn grain(&self) -> Grain {
        if self.head & 1 == 0 { Grain::Exact } else { Grain::Coarse }
    }

    /// The position of the oldest slot. It means nothing without slots.
    #[inline]
    const fn base(&self) -> u64 {
        self.head >> 1
    }

    fn set_base(&mut self, base: u64) {
        self.head = (base << 1) | (self.head & 1);
    }

    #[inline]
    fn unpack(&self, packed: u64) -> Slot {
        let grain = self.grain();
        Slot { position: self.base() + (packed >> grain.unit_bits()), units: packed & grain.max_units() }
    }

    /// The number of slots.
    #[inline]
    pub fn len(&self) -> usize {
        self.store.slots().len()
    }

    /// True if there is no slot.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.store.slots().is_empty()
    }

    /// The slots, oldest first.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Slot> + '_ {
        self.store.slots().iter().map(|&packed| self.unpack(packed))
    }

    /// The newest slot.
    #[inline]
    pub fn newest(&self) -> Option<Slot> {
        self.store.slots().last().map(|&packed| self.unpack(packed))
    }

    /// The position of the newest slot.
    #[inline]
    pub fn newest_position(&self) -> Option<u64> {
        self.store.distance(self.grain()).map(|distance| self.base() + distance)
    }

    /// The slots after the position `dead`, oldest first.
    #[inline]
    pub fn after(&self, dead: Option<u64>) -> impl DoubleEndedIterator<Item = Slot> + '_ {
        let slots = self.store.slots();
        slots.get(self.count_to(dead)..).unwrap_or_default().iter().map(|&packed| self.unpack(packed))
    }

    /// The sum of units after the position `dead`.
    #[inline]
    pub fn units_after(&self, dead: Option<u64>) -> u64 {
        self.store.units_after(self.count_to(dead), self.grain())
    }

    /// The number of slots at or before the position `dead`.
    #[inline]
    fn count_to(&self, dead: Option<u64>) -> usize {
        let Some(distance) = dead.and_then(|dead| dead.checked_sub(self.base())) else { return 0 };
        let bits = self.grain().unit_bits();
        // There are seldom more than a few, so a plain search is fast.
        self.store.slots().iter().take_while(|&packed| packed >> bits <= distance).count()
    }

    /// Forgets the slots at or before the position `dead`.
    pub fn forget_to(&mut self, dead: Option<u64>) {
        let gone = self.count_to(dead);
        if gone == 0 {
            return;
        }
        let Some(&oldest) = self.store.slots().get(gone) else {
            // A limit without usage frees its memory.
            *self = Self::new(self.grain());
            return;
        };
        let grain = self.grain();
        self.store.forget(gone, grain);
        self.set_base(self.base() + (oldest >> grain.unit_bits()));
    }

    /// Moves the slots after `position` to `position`.
    pub fn pull_back_to(&mut self, position: u64) {
        let mut units = 0u64;
        while self.newest_position().is_some_and(|newest| newest > position) {
            let Some(slot) = self.newest() else { break };
            units = units.saturating_add(slot.units);
            self.pop();
        }
        if units > 0 {
            self.push(position, units);
        }
    }

    /// Adds units at a position. It should be that of the newest slot or a later one; units at an
    /// earlier position are counted at the newest. Units that do not fit into a slot are lost, see
    /// [`Grain::max_units`].
    pub fn push(&mut self, position: u64, units: u64) {
        if units == 0 {
            return;
        }
        let grain = self.grain();
        match self.newest_position() {
            Some(newest) if newest >= position || self.len() == MAX_SLOTS => {
                self.store.change_newest(grain, |there| there.saturating_add(units).min(grain.max_units()));
                return;
            }
            None => self.set_base(position),
            Some(_) => {}
        }
        let distance = (position - self.base()).min(grain.max_distance());
        self.store.append(distance << grain.unit_bits() | units.min(grain.max_units()), grain);
    }

    /// Makes room for one more slot if there is none: the units of a slot move to the next slot. Of
    /// the neighbours within one interval of `width` positions, aligned to the epoch, these are the
    /// two that lie closest together. So no unit ever moves by `width` or more, however often room
    /// is made.
    pub fn make_room(&mut self, width: u64) {
        if self.len() < MAX_SLOTS {
            return;
        }
        let width = width.max(1);
        let slots: Vec<Slot> = self.iter().collect();
        let closest = slots
            .iter()
            .zip(slots.iter().skip(1))
            .enumerate()
            .filter(|(_, (older, newer))| older.position / width == newer.position / width)
            .min_by_key(|(_, (older, newer))| newer.position - older.position);
        let Some((moved, _)) = closest else { return };
        let mut left = Self::new(self.grain());
        let mut units = 0;
        for (at, slot) in slots.iter().enumerate() {
            units += slot.units;
            if at != moved {
                left.push(slot.position, units);
                units = 0;
            }
        }
        *self = left;
    }

    /// Removes the newest slot.
    fn pop(&mut self) {
        if self.len() <= 1 {
            *self = Self::new(self.grain());
        } else {
            self.store.pop(self.grain());
        }
    }

    /// Removes up to `units`, newest first. Returns how many were removed.
    pub fn remove_newest(&mut self, units: u64) -> u64 {
        let mut left = units;
        while left > 0 {
            let Some(slot) = self.newest() else { break };
            if slot.units <= left {
                left -= slot.units;
                self.pop();
            } else {
                self.store.change_newest(self.grain(), |there| there - left);
                left = 0;
            }
        }
        units - left
    }

    /// Removes up to `units`, newest first, passing over the newest `above`. Returns how many were
    /// removed.
    pub fn remove_beneath(&mut self, above: u64, units: u64) -> u64 {
        let beneath = self.units_after(None).saturating_sub(above);
        let removed = units.min(beneath);
        if removed == 0 {
            return 0;
        }
        let (mut older, mut gone) = (beneath - removed, removed);
        let mut left = Self::new(self.grain());
        for slot in self.iter() {
            let kept = slot.units.min(older);
            older -= kept;
            let taken = (slot.units - kept).min(gone);
            gone -= taken;
            left.push(slot.position, slot.units - taken);
        }
        *self = left;
        removed
    }

    /// The memory of the newest slot, if it is on the heap.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        self.store.prefetch_hint()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.store.heap_bytes()
    }
}
