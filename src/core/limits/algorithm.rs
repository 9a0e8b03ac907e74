//! The trait that every algorithm implements.

use super::layer::Layer;
use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};

/// The most units that any state counts as used (2^48 - 1). Beyond it, counting saturates. It is
/// far above what can be granted or owed, which is twice the largest count.
pub const MAX_UNITS: u64 = (1 << 48) - 1;

/// One algorithm with its numbers, for example "100 in a minute".
///
/// Everything follows from `used`. A request of n units fits if `used + n <= capacity`, and while
/// nobody asks, `used` only falls.
///
/// Functions that take `&Self::State` read the state: they skip what has expired, and see a clock
/// that stepped back as [`Algorithm::touch`] would record it. Functions that take `&mut` also
/// forget what has expired.
pub trait Algorithm: Sized {
    /// The usage that a limit remembers between calls. The default means that nothing is used.
    type State: Default;
    /// The name in tokens and replies, in lower case.
    const NAME: &'static str;
    /// The options that only this algorithm has.
    const OPTIONS: &'static [&'static str] = &[];
    /// False for an algorithm that only the server itself writes in tokens.
    const PUBLIC: bool = true;
    /// True if `block=` can close a limit of this algorithm.
    const CLOSES: bool = true;
    /// True if reservations hold places on a limit of this algorithm, and nothing else takes from it. Its
    /// state is then [`HeldPlaces`](super::concurrent::HeldPlaces).
    const HOLDS_PLACES: bool = false;

    /// Builds the rule from the text after `algorithm:`, such as `100/m`, and from the options that
    /// [`Algorithm::OPTIONS`] names.
    ///
    /// # Errors
    /// The reason in a few words.
    fn parse(quantity: &[u8], options: &LimitOptions<'_>) -> Result<Self, Reason>;
    /// The shortest text of algorithm and quantity, such as `100/m` or `bucket:10/s`.
    fn head(&self) -> String;
    /// The shortest text of the algorithm's own options, each with its leading colon.
    fn tail(&self) -> String {
        String::new()
    }
    /// True if both count the same thing (same period and windows), so that one can go on with the
    /// usage of the other.
    fn same_usage(&self, other: &Self) -> bool;
    /// False if the rule keeps no usage. What another rule of the same name or period keeps then stays
    /// with that rule.
    fn keeps_usage(&self) -> bool {
        true
    }
    /// The length of the period in microseconds, if there is one.
    fn period_us(&self) -> Option<u64>;
    /// The time in microseconds in which all units come back, if there is one.
    fn refill_us(&self) -> Option<u64> {
        self.period_us()
    }
    /// The longest possible window in microseconds, if there is one.
    fn covering_us(&self) -> Option<u64> {
        self.refill_us()
    }
    /// False if units never come back by themselves.
    fn comes_back(&self) -> bool {
        true
    }
    /// The most units that can be in use.
    fn capacity(&self) -> u64;

    /// True if nothing is remembered, expired or not.
    fn is_fresh(state: &Self::State) -> bool;
    /// The number of units in use at `now`. It is above the capacity after debt, or after the count
    /// became smaller.
    fn used(&self, state: &Self::State, now: Micros) -> u64;
    /// The first moment from `now` on at which at most `target` units are in use, if nobody asks.
    /// [`Micros::NEVER`] if there is none.
    fn falls_to(&self, state: &Self::State, now: Micros, target: u64) -> Micros;
    /// The first moment from `now` on at which nothing is in use, if `taken` units are taken now
    /// and nobody asks afterwards. [`Micros::NEVER`] if there is none.
    fn full_after(&self, state: &Self::State, now: Micros, taken: u64) -> Micros;
    /// True if the state holds a time after `now`, so that the clock has stepped back.
    fn stepped_back(&self, state: &Self::State, now: Micros) -> bool;
    /// The latest time that the state holds. If `now` is earlier, the clock has stepped back.
    fn not_before(&self, state: &Self::State) -> Micros;

    /// True if units taken now certainly leave [`Algorithm::full_after`] where it is.
    fn outlasts_now(&self, _state: &Self::State, _now: Micros) -> bool {
        false
    }

    /// Counts `units` as used from `now` on. Does not ask whether they fit.
    fn take(&self, state: &mut Self::State, now: Micros, units: u64);
    /// The part of `units` that a charge counts, so that the debt is at most one capacity. The last of
    /// them may fit in part only.
    fn chargeable(&self, state: &Self::State, now: Micros, units: u64) -> u64 {
        units.min(self.capacity().saturating_mul(2).saturating_sub(self.used(state, now)))
    }
    /// Prepares the state for a charge of `units`, which are chargeable: what they would exceed the
    /// greatest debt by, which is less than one unit, counts as not used.
    fn make_room(&self, _state: &mut Self::State, _now: Micros, _units: u64) {}
    /// Counts up to `units` as not used, newest first. The newest `above` units in use are passed
    /// over. Returns how many were given back.
    fn give_back(&self, state: &mut Self::State, now: Micros, above: u64, units: u64) -> u64;
    /// Returns what the state still shows of units that were granted at `granted`. Returns `None`
    /// if the units have certainly left the state, or if nothing is certain.
    fn layer(&self, _state: &Self::State, _granted: Micros) -> Option<Layer> {
        None
    }
    /// Forgets what has expired and records a clock that stepped back.
    fn touch(&self, state: &mut Self::State, now: Micros) {
        self.take(state, now, 0);
    }
    /// Turns a state that was kept under `old` into one of `self`. The units in use stay.
    fn carry(&self, old: &Self, state: &mut Self::State, now: Micros);
    /// True if units kept under `old` come back at the same times as under `self`.
    fn same_pace(&self, old: &Self) -> bool {
        self.same_usage(old)
    }
    /// The first moment from `now` on at which [`Algorithm::carry`] would leave at most `target`
    /// units in use, of a state that is kept under `old` until then. It is only called if more
    /// units are in use now and the pace differs.
    fn kept_falls_to(&self, old: &Self, state: &Self::State, now: Micros, target: u64) -> Micros {
        old.falls_to(state, now, target)
    }

    /// Appends the lossless encoding of a state.
    fn write(state: &Self::State, out: &mut Vec<u8>);
    /// Reads what [`Algorithm::write`] wrote for a rule like `self`.
    ///
    /// # Errors
    /// [`Corrupt`] for a state that `self` cannot have left behind.
    fn read(&self, reader: &mut Reader<'_>) -> Result<Self::State, Corrupt>;
    /// The bytes that the state holds outside itself.
    fn heap_bytes(_state: &Self::State) -> usize {
        0
    }
    /// The memory outside the state that [`Algorithm::take`] most likely writes.
    fn prefetch_hint(_state: &Self::State) -> Option<PrefetchHint> {
        None
    }
}

/// The moment at which a limit is full again after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The moment. It is that of the change if the limit is full.
    pub at: Micros,
    /// True if the change did not move `at`. It may also be false then. For several limits, true is
    /// exact only while the clock has not stepped back.
    pub as_before: bool,
}

impl Filled {
    /// The later of two moments.
    #[must_use]
    pub const fn or_later(self, other: Self) -> Self {
        if other.at.0 > self.at.0 {
            other
        } else {
            Self { at: self.at, as_before: self.as_before || other.as_before && other.at.0 == self.at.0 }
        }
    }
}
