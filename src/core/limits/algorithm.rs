//! The trait that every algorithm implements.

use super::layer::Layer;
use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};

/// The most units that any state counts as used (2^48 - 1); beyond, counting
/// saturates. Far above what can be granted or owed (twice the largest count).
pub const MAX_UNITS: u64 = (1 << 48) - 1;

/// One algorithm with its numbers, for example "100 in a minute".
///
/// Everything follows from `used`: a request of n units fits when
/// `used + n <= capacity`, and while nobody asks `used` only falls.
///
/// Functions that take `&Self::State` read: they skip what has expired and see
/// a clock that stepped back as [`Algorithm::touch`] would record it. Functions
/// that take `&mut` also forget what has expired.
pub trait Algorithm: Sized {
    /// What is remembered between calls; the default is "nothing used".
    type State: Default;
    /// The name in tokens and replies, lower case.
    const NAME: &'static str;
    /// The options that only this algorithm has.
    const OPTIONS: &'static [&'static str] = &[];
    /// False for what only the server itself writes.
    const PUBLIC: bool = true;
    /// True when units come back gradually, as in a bucket.
    const REFILLS: bool = false;
    /// True when `block=` can close a limit of this algorithm.
    const CLOSES: bool = true;

    /// Builds the rule from the text after `algorithm:` (`100/m`) and the
    /// options that it names in [`Algorithm::OPTIONS`].
    ///
    /// # Errors
    /// The reason in a few words.
    fn parse(quantity: &[u8], options: &LimitOptions<'_>) -> Result<Self, Reason>;
    /// The shortest text of algorithm and quantity: `100/m`, `bucket:10/s`.
    fn head(&self) -> String;
    /// The shortest text of the own options, each with its leading colon.
    fn tail(&self) -> String {
        String::new()
    }
    /// Do both count the same thing (same period, windows), so that one goes on
    /// with the other's usage?
    fn same_usage(&self, other: &Self) -> bool;
    /// Length of the period in microseconds, where there is one.
    fn period_us(&self) -> Option<u64>;
    /// The time in microseconds in which all units come back, where there is one.
    fn refill_us(&self) -> Option<u64> {
        self.period_us()
    }
    /// False where units never come back by themselves.
    fn comes_back(&self) -> bool {
        true
    }
    /// The most units that may be in use.
    fn capacity(&self) -> u64;

    /// True when nothing is remembered, expired or not.
    fn is_fresh(state: &Self::State) -> bool;
    /// Units in use at `now`; after debt or a smaller count above the capacity.
    fn used(&self, state: &Self::State, now: Micros) -> u64;
    /// The first moment from `now` on at which at most `target` units are in
    /// use if nobody asks; [`Micros::NEVER`] where there is none.
    fn falls_to(&self, state: &Self::State, now: Micros, target: u64) -> Micros;
    /// The first moment from `now` on at which nothing is in use, if `taken`
    /// units were taken now and nobody asks afterwards; [`Micros::NEVER`] where there is none.
    fn full_after(&self, state: &Self::State, now: Micros, taken: u64) -> Micros;
    /// True when the state knows of a time after `now`: the clock stepped back.
    fn stepped_back(&self, state: &Self::State, now: Micros) -> bool;
    /// The latest time that the state knows of: at an earlier one the clock has
    /// stepped back.
    fn not_before(&self, state: &Self::State) -> Micros;

    /// True when units taken now surely leave [`Algorithm::full_after`] where it is.
    fn outlasts_now(&self, _state: &Self::State, _now: Micros) -> bool {
        false
    }

    /// Counts `units` as used from `now` on. Does not ask whether they fit.
    fn take(&self, state: &mut Self::State, now: Micros, units: u64);
    /// Counts up to `units` as not used, newest first, of those in use that lie
    /// beneath the newest `above`; returns how many.
    fn give_back(&self, state: &mut Self::State, now: Micros, above: u64, units: u64) -> u64;
    /// What the state tells of units that were granted at `granted`; `None` where
    /// they have surely left it, or nothing is certain.
    fn layer(&self, _state: &Self::State, _granted: Micros) -> Option<Layer> {
        None
    }
    /// Forgets what has expired and records a clock that stepped back.
    fn touch(&self, state: &mut Self::State, now: Micros) {
        self.take(state, now, 0);
    }
    /// Makes a state kept under `old` one of `self`, keeping the units in use.
    fn carry(&self, old: &Self, state: &mut Self::State, now: Micros);
    /// True when units kept under `old` come back when they would under `self`.
    fn same_pace(&self, old: &Self) -> bool {
        self.same_usage(old)
    }
    /// The first moment from `now` on at which [`Algorithm::carry`] would leave at most
    /// `target` units in use of a state that is kept under `old` until then. Asked only
    /// where more are in use now and the pace differs.
    fn kept_falls_to(&self, old: &Self, state: &Self::State, now: Micros, target: u64) -> Micros {
        old.falls_to(state, now, target)
    }

    /// Appends the lossless encoding.
    fn write(state: &Self::State, out: &mut Vec<u8>);
    /// Reads what [`Algorithm::write`] wrote for a rule like `self`.
    ///
    /// # Errors
    /// [`Corrupt`] for whatever `self` cannot have left behind.
    fn read(&self, reader: &mut Reader<'_>) -> Result<Self::State, Corrupt>;
    /// Bytes that the state holds outside itself.
    fn heap_bytes(_state: &Self::State) -> usize {
        0
    }
    /// What [`Algorithm::take`] most likely writes outside the state.
    fn prefetch_hint(_state: &Self::State) -> Option<PrefetchHint> {
        None
    }
}

/// When a limit is full again after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The moment; that of the change when it is full.
    pub at: Micros,
    /// It was the same before; of several limits, unless the clock stepped back.
    pub as_before: bool,
}

impl Filled {
    /// The later of two.
    #[must_use]
    pub const fn or_later(self, other: Self) -> Self {
        if other.at.0 > self.at.0 {
            other
        } else {
            Self { at: self.at, as_before: self.as_before || other.as_before && other.at.0 == self.at.0 }
        }
    }
}
