//! At most `count` reservations held at a time. With `per=cost`, reservations whose costs add up to
//! at most `count` units.
//!
//! The reservations of the key know who holds places and until when, so nothing is stored here. For
//! each decision they hand over a [`HeldPlaces`].

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

/// How many places are held at the moment of a decision, and when they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPlaces(Box<HeldMoments>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HeldMoments {
    used: u64,
    /// The end of the last of them.
    latest: Micros,
    /// The end of a reservation that would be taken now.
    next: Micros,
    /// For each number of places that a decision may ask about: the moment at which no more are
    /// held.
    falls: [Option<(u64, Micros)>; 2],
    stepped_back: bool,
}

impl HeldPlaces {
    /// `used` places are held. The last of them is free at `latest`, and one taken now would be at
    /// `next`.
    ///
    /// `falls` holds pairs (n, moment at which at most n places are held). One is for what the
    /// request leaves of all places, if it is critical. The other is for what it leaves of the
    /// places that it may use, if it is not.
    pub fn new(used: u64, latest: Micros, next: Micros, falls: [Option<(u64, Micros)>; 2]) -> Self {
        Self(Box::new(HeldMoments { used, latest, next, falls, stepped_back: false }))
    }

    /// The same places, seen after the clock stepped back.
    #[must_use]
    pub fn after_step(mut self) -> Self {
        self.0.stepped_back = true;
        self
    }
}

impl Algorithm for Concurrent {
    type State = HeldPlaces;
    const NAME: &'static str = "concurrent";
    const CLOSES: bool = false;
    const HOLDS_PLACES: bool = true;

    fn parse(quantity: &[u8], _options: &LimitOptions<'_>) -> Result<Self, Reason> {
        if quantity.contains(&b'/') {
            return Err("concurrent takes no period, as in concurrent:20".into());
        }
        Ok(Self { count: quantity::parse_count(quantity)? })
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
        held.0.used == 0
    }

    fn used(&self, held: &HeldPlaces, _now: Micros) -> u64 {
        held.0.used
    }

    fn falls_to(&self, held: &HeldPlaces, now: Micros, target: u64) -> Micros {
        if held.0.used <= target {
            return now;
        }
        let known = held.0.falls.iter().flatten().filter(|(most, _)| *most <= target);
        known.map(|(_, at)| *at).min().unwrap_or(held.0.latest).max(now)
    }

    fn full_after(&self, held: &HeldPlaces, now: Micros, taken: u64) -> Micros {
        let taken = if taken > 0 { held.0.next } else { now };
        held.0.latest.max(taken).max(now)
    }

    fn stepped_back(&self, held: &HeldPlaces, _now: Micros) -> bool {
        held.0.stepped_back
    }

    fn not_before(&self, _held: &HeldPlaces) -> Micros {
        Micros::default()
    }

    /// Changes nothing, because the reservation itself is what counts.
    fn take(&self, _held: &mut HeldPlaces, _now: Micros, _units: u64) {}

    fn give_back(&self, _held: &mut HeldPlaces, _now: Micros, _above: u64, _units: u64) -> u64 {
        0
    }

    fn carry(&self, _old: &Self, _held: &mut HeldPlaces, _now: Micros) {}

    fn write(_held: &HeldPlaces, _out: &mut Vec<u8>) {}

    fn read(&self, _reader: &mut Reader<'_>) -> Result<HeldPlaces, Corrupt> {
        Err(Corrupt("places held without reservations"))
    }

    fn heap_bytes(_held: &HeldPlaces) -> usize {
        size_of::<HeldMoments>()
    }
}
