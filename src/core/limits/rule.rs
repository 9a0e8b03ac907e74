//! The one table that lists the algorithms, and what follows from it: a limit's
//! [`Rule`] and what it remembers, its [`State`]. To add an algorithm, write its
//! file and add its row to `algorithms!`.

use super::algorithm::{Algorithm, Filled};
use super::layer::Layer;
use super::quantity::Reason;
use super::throttle::Arrival;
use crate::core::limits::options::LimitOptions;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};

/// An algorithm's row: its name, and what belongs to it alone.
pub(super) struct AlgorithmRow {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub public: bool,
    pub parse: fn(&[u8], &LimitOptions<'_>) -> Result<Rule, Reason>,
}

/// What a state shows at a time.
pub(super) struct Seen {
    /// Units in use.
    pub used: u64,
    /// The state knows of a later time.
    pub stepped_back: bool,
}

macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        /// What a limit enforces: one of the algorithms, or nothing.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Rule {
            /// Always grants.
            Unlimited,
            $($(#[$doc])* $name($rule),)+
        }

        /// What one limit remembers between calls.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum State {
            /// Nothing used.
            #[default]
            Fresh,
            $($(#[$doc])* $name(<$rule as Algorithm>::State),)+
        }

        pub(super) const TABLE: &[AlgorithmRow] = &[$(AlgorithmRow {
            name: <$rule as Algorithm>::NAME,
            options: <$rule as Algorithm>::OPTIONS,
            public: <$rule as Algorithm>::PUBLIC,
            parse: |quantity, options| <$rule as Algorithm>::parse(quantity, options).map(Rule::$name),
        },)+];

        impl Rule {
            /// `sliding`, `bucket`, `fixed`, …
            pub const fn name(&self) -> &'static str {
                match self {
                    Self::Unlimited => "unlimited",
                    $(Self::$name(_) => <$rule as Algorithm>::NAME,)+
                }
            }

            /// The most units that may be in use; `None` for unlimited.
            #[inline]
            pub fn capacity(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => Some(rule.capacity()),)+
                }
            }

            /// True when units come back gradually, so that what is in use and
            /// what is there always make up the capacity.
            pub(super) const fn refills(&self) -> bool {
                match self {
                    Self::Unlimited => false,
                    $(Self::$name(_) => <$rule as Algorithm>::REFILLS,)+
                }
            }

            pub(super) fn period_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.period_us(),)+
                }
            }

            pub(super) fn refill_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.refill_us(),)+
                }
            }

            pub(super) fn head(&self) -> String {
                match self {
                    Self::Unlimited => "unlimited".to_owned(),
                    $(Self::$name(rule) => rule.head(),)+
                }
            }

            pub(super) fn tail(&self) -> String {
                match self {
                    Self::Unlimited => String::new(),
                    $(Self::$name(rule) => rule.tail(),)+
                }
            }

            pub(super) fn same_usage(&self, other: &Self) -> bool {
                match (self, other) {
                    (Self::Unlimited, Self::Unlimited) => true,
                    $((Self::$name(a), Self::$name(b)) => a.same_usage(b),)+
                    _ => false,
                }
            }

            /// Units in use at `now`.
            #[inline]
            pub fn used(&self, state: &State, now: Micros) -> u64 {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.used(state, now),)+
                    _ => 0,
                }
            }

            /// What a decision asks first, together: they share their divisions.
            #[inline]
            pub(super) fn see(&self, state: &State, now: Micros) -> Seen {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => Seen {
                        used: rule.used(state, now),
                        stepped_back: rule.stepped_back(state, now),
                    },)+
                    _ => Seen { used: 0, stepped_back: false },
                }
            }

            /// When at most `target` units are in use if nobody asks.
            pub fn falls_to(&self, state: &State, now: Micros, target: u64) -> Micros {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.falls_to(state, now, target),)+
                    _ => now,
                }
            }

            /// When nothing is in use if `taken` units are taken now.
            #[inline]
            pub fn full_after(&self, state: &State, now: Micros, taken: u64) -> Micros {
                match (self, state) {
                    (Self::Unlimited, _) => now,
                    $((Self::$name(rule), State::$name(state)) => rule.full_after(state, now, taken),)+
                    $((Self::$name(rule), _) => {
                        rule.full_after(&<$rule as Algorithm>::State::default(), now, taken)
                    })+
                }
            }

            /// When nothing is in use if nobody asks: a clock that stepped back and
            /// that no change records comes forward again.
            #[inline]
            pub fn full_untouched(&self, state: &State, now: Micros) -> Micros {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => {
                        rule.full_after(state, now.max(rule.not_before(state)), 0)
                    })+
                    _ => now,
                }
            }

            /// True when the clock stepped back since the state was written.
            #[inline]
            pub fn stepped_back(&self, state: &State, now: Micros) -> bool {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.stepped_back(state, now),)+
                    _ => false,
                }
            }

            /// Counts `units` as used, whether they fit or not; tells when
            /// nothing of it is in use any more.
            #[inline]
            pub(super) fn take(&self, state: &mut State, now: Micros, units: u64) -> Filled {
                match self {
                    Self::Unlimited => *state = State::Fresh,
                    $(Self::$name(rule) => {
                        if !matches!(state, State::$name(_)) {
                            *state = State::$name(<$rule as Algorithm>::State::default());
                        }
                        if let State::$name(own) = state {
                            let as_before = rule.outlasts_now(own, now);
                            if units > 0 { rule.take(own, now, units) } else { rule.touch(own, now) }
                            if !<$rule as Algorithm>::is_fresh(own) {
                                return Filled { at: rule.full_after(own, now, 0), as_before };
                            }
                            *state = State::Fresh;
                        }
                    })+
                }
                Filled { at: now, as_before: false }
            }

            /// Counts up to `units` as not used, of those beneath the newest `above`;
            /// returns how many.
            pub(super) fn give_back(&self, state: &mut State, now: Micros, above: u64, units: u64) -> u64 {
                match (self, &mut *state) {
                    $((Self::$name(rule), State::$name(own)) => {
                        let given = rule.give_back(own, now, above, units);
                        if <$rule as Algorithm>::is_fresh(own) {
                            *state = State::Fresh;
                        }
                        given
                    })+
                    _ => 0,
                }
            }

            /// What the state tells of units that were granted at `granted`.
            pub(super) fn layer(&self, state: &State, granted: Micros) -> Option<Layer> {
                match (self, state) {
                    $((Self::$name(rule), State::$name(own)) => rule.layer(own, granted),)+
                    _ => None,
                }
            }

            /// `state`, kept under `old`, as a state of `self`: the units in
            /// use stay; of another algorithm nothing stays.
            pub(super) fn carry(&self, old: &Self, mut state: State, now: Micros) -> State {
                match (self, old, &mut state) {
                    $((Self::$name(rule), Self::$name(old), State::$name(own)) => {
                        if rule != old {
                            rule.carry(old, own, now);
                        }
                        if <$rule as Algorithm>::is_fresh(own) { State::Fresh } else { state }
                    })+
                    _ => State::Fresh,
                }
            }
        }

        impl State {
            /// Appends the lossless encoding: a tag, then what the algorithm
            /// writes.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Fresh => out.push(0),
                    $(Self::$name(state) => {
                        out.push($tag);
                        <$rule as Algorithm>::write(state, out);
                    })+
                }
            }

            /// Reads the state that [`State::write`] wrote under `rule`. The
            /// result equals what was written.
            ///
            /// # Errors
            /// [`Corrupt`] for another algorithm's state and for anything that
            /// the rule's algorithm cannot have left behind.
            pub fn read(reader: &mut Reader<'_>, rule: &Rule) -> Result<Self, Corrupt> {
                match (reader.byte()?, rule) {
                    (0, _) => Ok(Self::Fresh),
                    $(($tag, Rule::$name(rule)) => rule.read(reader).map(Self::$name),)+
                    _ => Err(Corrupt("state of another algorithm")),
                }
            }

            /// The arrival time of a `CL.THROTTLE` limit; of others that of a fresh one.
            pub fn arrival(&self) -> Arrival {
                if let Self::Throttle(arrival) = self { *arrival } else { Arrival::default() }
            }

            /// The state of a `CL.THROTTLE` limit.
            pub fn of_arrival(arrival: Arrival) -> Self {
                if arrival == Arrival::default() { Self::Fresh } else { Self::Throttle(arrival) }
            }

            /// Bytes held outside the value itself.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Self::Fresh => 0,
                    $(Self::$name(state) => <$rule as Algorithm>::heap_bytes(state),)+
                }
            }

            /// What a grant most likely writes outside the state itself.
            #[inline]
            pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
                match self {
                    Self::Fresh => None,
                    $(Self::$name(state) => <$rule as Algorithm>::prefetch_hint(state),)+
                }
            }
        }
    };
}

algorithms! {
    /// At most `count` in any interval of `period`.
    Sliding(super::sliding::Sliding) = 1,
    /// Refills continuously.
    Bucket(super::bucket::Bucket) = 2,
    /// At most `count` in each window.
    Fixed(super::fixed::Fixed) = 3,
    /// At most `count` held at a time.
    Concurrent(super::concurrent::Concurrent) = 4,
    /// `CL.THROTTLE`, as redis-cell counts.
    Throttle(super::throttle::Throttle) = 5,
}

// A key of one limit should stay small, and arrays of states tightly packed.
const _: () = assert!(size_of::<State>() <= 40 && align_of::<State>() == 8);
