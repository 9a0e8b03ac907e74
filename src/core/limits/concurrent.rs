//! At most `count` reservations held at a time.
//!
//! Who holds them and until when is known to the reservations of the key, so
//! nothing is stored here: for each decision they hand over a [`HeldPlaces`].

use super::algorithm::Algorithm;
use super::quantity::{self, Reason};
use crate::core::limits::options::LimitOptions;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};

/// `concurrent:count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrent {
    count: u64,
}

/// How many are held at the moment of a decision, and when they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPlaces {
    used: u64,
    /// The earliest ends in order, as many as a decision may ask for; behind
    /// them the latest of all.
    ends: Box<[Micros]>,
    /// When a reservation that is taken now will end.
    next: Micros,
}

impl HeldPlaces {
    /// `used` reservations, of which the first end at `earliest` (in order) and
    /// the last at `latest`; one taken now would end at `next`.
    pub fn new(used: u64, mut earliest: Vec<Micros>, latest: Micros, next: Micros) -> Self {
        earliest.push(latest);
        Self { used, ends: earliest.into(), next }
    }

    fn latest(&self) -> Micros {
        self.ends.last().copied().unwrap_or_default()
    }
}

impl Algorithm for Concurrent {
    type State = HeldPlaces;
    const NAME: &'static str = "concurrent";

    fn parse(quantity: &[u8], _options: &LimitOptions<'_>) -> Result<Self, Reason> {
        if quantity.contains(&b'/') {
            return Err("concurrent takes no period, as in concurrent:20".into());
        }
        Ok(Self { count: quantity::count(quantity)? })
    }

    fn head(&self) -> String {
        format!("concurrent:{}", self.count)
    }

    fn same_usage(&self, _other: &Self) -> bool {
        true
    }

    fn period_us(&self) -> Option<u64> {
        None
    }

    fn capacity(&self) -> u64 {
        self.count
    }

    fn is_fresh(held: &HeldPlaces) -> bool {
        held.used == 0
    }

    fn used(&self, held: &HeldPlaces, _now: Micros) -> u64 {
        held.used
    }

    fn falls_to(&self, held: &HeldPlaces, now: Micros, target: u64) -> Micros {
        let Some(more) = held.used.checked_sub(target).filter(|&more| more > 0) else { return now };
        let index = usize::try_from(more - 1).unwrap_or(usize::MAX);
        held.ends.get(index).copied().unwrap_or_else(|| held.latest()).max(now)
    }

    fn full_after(&self, held: &HeldPlaces, now: Micros, taken: u64) -> Micros {
        let taken = if taken > 0 { held.next } else { now };
        held.latest().max(taken).max(now)
    }

    fn stepped_back(&self, _held: &HeldPlaces, _now: Micros) -> bool {
        false
    }

    fn not_before(&self, _held: &HeldPlaces) -> Micros {
        Micros::default()
    }

    /// Nothing: the reservation itself is what counts.
    fn take(&self, _held: &mut HeldPlaces, _now: Micros, _units: u64) {}

    fn give_back(&self, _held: &mut HeldPlaces, _now: Micros, _units: u64) -> u64 {
        0
    }

    fn carry(&self, _old: &Self, _held: &mut HeldPlaces, _now: Micros) {}

    fn write(_held: &HeldPlaces, _out: &mut Vec<u8>) {}

    fn read(&self, _reader: &mut Reader<'_>) -> Result<HeldPlaces, Corrupt> {
        Err(Corrupt("places held without reservations"))
    }

    fn heap_bytes(held: &HeldPlaces) -> usize {
        size_of_val(&*held.ends)
    }
}
