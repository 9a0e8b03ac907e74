//! At most `count` reservations held at a time.
//!
//! The rule only counts how many are held; who holds them and until when is
//! known to the reservations of the key. So it cannot say when one will end.

use super::algorithm::{Algorithm, MAX_UNITS};
use super::options::Options;
use super::quantity::{self, Reason};
use crate::core::clock::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// `concurrent:count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrent {
    count: u64,
}

/// How many are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(u64);

impl Algorithm for Concurrent {
    type State = Held;
    const NAME: &'static str = "concurrent";

    fn parse(quantity: &[u8], _options: &Options<'_>) -> Result<Self, Reason> {
        if quantity.contains(&b'/') {
            return Err("concurrent takes no period".into());
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

    fn is_fresh(held: &Held) -> bool {
        held.0 == 0
    }

    fn used(&self, held: &Held, _now: Micros) -> u64 {
        held.0
    }

    /// `Micros(u64::MAX)`: not known here.
    fn falls_to(&self, held: &Held, now: Micros, target: u64) -> Micros {
        if held.0 <= target { now } else { Micros(u64::MAX) }
    }

    fn full_after(&self, held: &Held, now: Micros, taken: u64) -> Micros {
        self.falls_to(&Held(held.0.saturating_add(taken)), now, 0)
    }

    fn stepped_back(&self, _held: &Held, _now: Micros) -> bool {
        false
    }

    fn take(&self, held: &mut Held, _now: Micros, units: u64) {
        held.0 = held.0.saturating_add(units).min(MAX_UNITS);
    }

    fn give_back(&self, held: &mut Held, _now: Micros, units: u64) -> u64 {
        let back = units.min(held.0);
        held.0 -= back;
        back
    }

    fn carry(&self, _old: &Self, _held: &mut Held, _now: Micros) {}

    fn write(held: &Held, out: &mut Vec<u8>) {
        put_u64(out, held.0);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Held, Corrupt> {
        match reader.u64_to(MAX_UNITS)? {
            0 => Err(Corrupt("nothing held")),
            held => Ok(Held(held)),
        }
    }
}
