//! Where the grants of a sliding limit lie in time: up to 64 positions with
//! units each, oldest first, packed into eight bytes apiece.
//!
//! A position is a time in microseconds ([`Grain::Exact`]) or the number of an
//! interval of a fiftieth of the period ([`Grain::Coarse`]). The oldest is kept
//! whole, the others as their distance from it. Up to three lie in the value
//! itself, more on the heap.

use super::algorithm::MAX_UNITS;
use crate::core::clock::Micros;
use std::fmt;

/// The most positions.
pub const MAX_SLOTS: usize = 64;

/// How many fit without the heap.
const INLINE: usize = 3;

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
    const fn unit_bits(self) -> u32 {
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

/// Units at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Time in microseconds or number of an interval, by the grain.
    pub position: u64,
    /// At least 1.
    pub units: u64,
}

#[derive(Clone)]
enum Store {
    /// Packed slots; a zero marks the end, since no slot has zero units.
    Inline([u64; INLINE]),
    Heap(Vec<u64>),
}

/// Slots in order of position; no two at the same.
#[derive(Clone)]
pub struct Slots {
    /// Position of the oldest slot, shifted by one, and the grain in the lowest
    /// bit. Zero when empty and exact.
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
        self.head == other.head && self.packed() == other.packed()
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
        Self { head: matches!(grain, Grain::Coarse) as u64, store: Store::Inline([0; INLINE]) }
    }

    /// [`Slots::bits`] is below 2 to this power: a position, units as many as
    /// the largest count has, and the grain.
    pub const BITS: u32 = Micros::BITS + Self::UNIT_BITS + 1;

    const UNIT_BITS: u32 = 40;

    /// The whole state as one number below 2^93; `None` unless it is one slot of
    /// fewer than 2^40 units within the time that the crate accepts.
    #[inline]
    pub fn bits(&self) -> Option<u128> {
        let &[units] = self.packed() else { return None };
        // As the oldest its distance is 0: what is packed are its units.
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
        Self { head: (bits >> Self::UNIT_BITS) as u64, store: Store::Inline([units, 0, 0]) }
    }

    /// What positions are.
    #[inline]
    pub const fn grain(&self) -> Grain {
        if self.head & 1 == 0 { Grain::Exact } else { Grain::Coarse }
    }

    /// Position of the oldest; meaningless when empty.
    #[inline]
    const fn base(&self) -> u64 {
        self.head >> 1
    }

    fn set_base(&mut self, base: u64) {
        self.head = (base << 1) | (self.head & 1);
    }

    #[inline]
    fn packed(&self) -> &[u64] {
        match &self.store {
            Store::Inline(slots) => {
                let len = slots.iter().position(|&s| s == 0).unwrap_or(INLINE);
                slots.get(..len).unwrap_or_default()
            }
            Store::Heap(slots) => slots,
        }
    }

    #[inline]
    fn packed_mut(&mut self) -> &mut [u64] {
        match &mut self.store {
            Store::Inline(slots) => {
                let len = slots.iter().position(|&s| s == 0).unwrap_or(INLINE);
                slots.get_mut(..len).unwrap_or_default()
            }
            Store::Heap(slots) => slots,
        }
    }

    #[inline]
    fn unpack(&self, packed: u64) -> Slot {
        let grain = self.grain();
        Slot { position: self.base() + (packed >> grain.unit_bits()), units: packed & grain.max_units() }
    }

    /// How many slots there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.packed().len()
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.packed().is_empty()
    }

    /// The slots, oldest first.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Slot> + '_ {
        self.packed().iter().map(|&packed| self.unpack(packed))
    }

    /// The newest slot.
    #[inline]
    pub fn newest(&self) -> Option<Slot> {
        self.packed().last().map(|&packed| self.unpack(packed))
    }

    /// The slots after the position `dead`, oldest first.
    #[inline]
    pub fn after(&self, dead: Option<u64>) -> impl DoubleEndedIterator<Item = Slot> + '_ {
        let packed = self.packed();
        packed.get(self.count_to(dead)..).unwrap_or_default().iter().map(|&packed| self.unpack(packed))
    }

    /// The sum of units after the position `dead`.
    #[inline]
    pub fn units_after(&self, dead: Option<u64>) -> u64 {
        let mask = self.grain().max_units();
        // At most 64 * 2^48: cannot overflow.
        self.packed().get(self.count_to(dead)..).unwrap_or_default().iter().map(|packed| packed & mask).sum()
    }

    /// How many slots lie at or before the position `dead`.
    #[inline]
    fn count_to(&self, dead: Option<u64>) -> usize {
        let Some(distance) = dead.and_then(|dead| dead.checked_sub(self.base())) else { return 0 };
        let bits = self.grain().unit_bits();
        self.packed().partition_point(|packed| packed >> bits <= distance)
    }

    /// Forgets the slots at or before the position `dead`.
    pub fn forget_to(&mut self, dead: Option<u64>) {
        let gone = self.count_to(dead);
        if gone == 0 {
            return;
        }
        let left = self.len() - gone;
        if left == 0 {
            // Empty limits give their memory back.
            *self = Self::new(self.grain());
            return;
        }
        match &mut self.store {
            Store::Inline(slots) => {
                slots.rotate_left(gone);
                slots.iter_mut().skip(left).for_each(|slot| *slot = 0);
            }
            Store::Heap(slots) => {
                slots.drain(..gone);
            }
        }
        let bits = self.grain().unit_bits();
        let distance = self.packed().first().map_or(0, |packed| packed >> bits);
        self.packed_mut().iter_mut().for_each(|packed| *packed -= distance << bits);
        self.set_base(self.base() + distance);
    }

    /// Moves the slots after `position` to it.
    pub fn pull_back_to(&mut self, position: u64) {
        let mut units = 0u64;
        while let Some(slot) = self.newest().filter(|slot| slot.position > position) {
            units = units.saturating_add(slot.units);
            self.pop();
        }
        if units > 0 {
            self.push(position, units);
        }
    }

    /// Adds units at a position that is the newest's or after it (an earlier
    /// one is taken for the newest's). Units that do not fit into a slot are
    /// lost; see [`Grain::max_units`].
    pub fn push(&mut self, position: u64, units: u64) {
        if units == 0 {
            return;
        }
        let grain = self.grain();
        let newest = self.newest();
        match newest {
            Some(slot) if slot.position >= position => {
                let sum = slot.units.saturating_add(units).min(grain.max_units());
                if let Some(packed) = self.packed_mut().last_mut() {
                    *packed += sum - slot.units;
                }
                return;
            }
            None => self.set_base(position),
            Some(_) => {}
        }
        let mut units = units.min(grain.max_units());
        if self.len() == MAX_SLOTS {
            // Only debt gets here: the newest units wait as long as the new.
            units = units.saturating_add(newest.map_or(0, |slot| slot.units)).min(grain.max_units());
            self.pop();
        }
        let distance = (position - self.base()).min(grain.max_distance());
        self.append(distance << grain.unit_bits() | units);
    }

    fn append(&mut self, packed: u64) {
        match &mut self.store {
            Store::Inline(slots) => {
                if let Some(free) = slots.iter_mut().find(|slot| **slot == 0) {
                    *free = packed;
                    return;
                }
                let mut heap = Vec::with_capacity(8);
                heap.extend_from_slice(slots);
                heap.push(packed);
                self.store = Store::Heap(heap);
            }
            Store::Heap(slots) => {
                if slots.len() == slots.capacity() {
                    let roomy = slots.len().saturating_mul(2).clamp(8, MAX_SLOTS);
                    slots.reserve_exact(roomy.saturating_sub(slots.len()));
                }
                slots.push(packed);
            }
        }
    }

    /// Removes the newest slot.
    fn pop(&mut self) {
        let left = self.len().saturating_sub(1);
        if left == 0 {
            *self = Self::new(self.grain());
            return;
        }
        match &mut self.store {
            Store::Inline(slots) => slots.iter_mut().skip(left).for_each(|slot| *slot = 0),
            Store::Heap(slots) => slots.truncate(left),
        }
    }

    /// Removes up to `units`, newest first; returns how many.
    pub fn remove_newest(&mut self, units: u64) -> u64 {
        let mut left = units;
        while left > 0 {
            let Some(slot) = self.newest() else { break };
            if slot.units <= left {
                left -= slot.units;
                self.pop();
            } else {
                if let Some(packed) = self.packed_mut().last_mut() {
                    *packed -= left;
                }
                left = 0;
            }
        }
        units - left
    }

    /// Removes up to `units` at this very position; returns how many.
    pub fn remove_at(&mut self, position: u64, units: u64) -> u64 {
        let Some(there) = self.iter().find(|slot| slot.position == position) else { return 0 };
        let removed = units.min(there.units);
        let mut left = Self::new(self.grain());
        for slot in self.iter() {
            let gone = if slot.position == position { removed } else { 0 };
            left.push(slot.position, slot.units - gone);
        }
        *self = left;
        removed
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.store {
            Store::Inline(_) => 0,
            Store::Heap(slots) => slots.capacity() * size_of::<u64>(),
        }
    }
}
