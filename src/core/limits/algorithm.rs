//! The trait that every algorithm implements, and the one table that lists
//! them. To add an algorithm, write its file and add its row to `algorithms!`.

use super::options::Options;
use super::quantity::Reason;
use super::spec::Limit;
use crate::core::prefetch_hint::Place;
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

    /// Builds the rule from the text after `algorithm:` (`100/m`) and the
    /// options that it names in [`Algorithm::OPTIONS`].
    ///
    /// # Errors
    /// The reason in a few words.
    fn parse(quantity: &[u8], options: &Options<'_>) -> Result<Self, Reason>;
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
    /// The most units that may be in use.
    fn capacity(&self) -> u64;

    /// True when nothing is remembered, expired or not.
    fn is_fresh(state: &Self::State) -> bool;
    /// Units in use at `now`; after debt or a smaller count above the capacity.
    fn used(&self, state: &Self::State, now: Micros) -> u64;
    /// The first moment from `now` on at which at most `target` units are in
    /// use if nobody asks.
    fn falls_to(&self, state: &Self::State, now: Micros, target: u64) -> Micros;
    /// The first moment from `now` on at which nothing is in use, if `taken`
    /// units were taken now and nobody asks afterwards.
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
    /// Counts up to `units` as not used, newest first; returns how many.
    fn give_back(&self, state: &mut Self::State, now: Micros, units: u64) -> u64;
    /// As [`Algorithm::give_back`] for units granted at `granted`: nothing when
    /// they are no longer in use, and theirs before others'.
    fn give_back_from(&self, state: &mut Self::State, now: Micros, granted: Micros, units: u64) -> u64 {
        let _ = granted;
        self.give_back(state, now, units)
    }
    /// Forgets what has expired and records a clock that stepped back.
    fn touch(&self, state: &mut Self::State, now: Micros) {
        self.take(state, now, 0);
    }
    /// Makes a state kept under `old` one of `self`, keeping the units in use.
    fn carry(&self, old: &Self, state: &mut Self::State, now: Micros);

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
    fn far(_state: &Self::State) -> Option<Place> {
        None
    }
}

/// An algorithm's row: its name, and what belongs to it alone.
pub(super) struct Row {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub public: bool,
    pub parse: fn(&[u8], &Options<'_>) -> Result<Rule, Reason>,
}

/// What a state shows at a time.
pub(super) struct Seen {
    /// Units in use.
    pub used: u64,
    /// The state knows of a later time.
    pub stepped_back: bool,
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

        pub(super) const TABLE: &[Row] = &[$(Row {
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

            /// Counts up to `units` as not used; returns how many.
            pub(super) fn give_back(&self, state: &mut State, now: Micros, units: u64) -> u64 {
                match (self, &mut *state) {
                    $((Self::$name(rule), State::$name(own)) => {
                        let given = rule.give_back(own, now, units);
                        if <$rule as Algorithm>::is_fresh(own) {
                            *state = State::Fresh;
                        }
                        given
                    })+
                    _ => 0,
                }
            }

            /// As `give_back`, for units that were granted at `granted`.
            pub(super) fn give_back_from(
                &self,
                state: &mut State,
                now: Micros,
                granted: Micros,
                units: u64,
            ) -> u64 {
                match (self, &mut *state) {
                    $((Self::$name(rule), State::$name(own)) => {
                        let given = rule.give_back_from(own, now, granted, units);
                        if <$rule as Algorithm>::is_fresh(own) {
                            *state = State::Fresh;
                        }
                        given
                    })+
                    _ => 0,
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

            /// Reads the state that [`State::write`] wrote for `limit`. The
            /// result equals what was written.
            ///
            /// # Errors
            /// [`Corrupt`] for another algorithm's state and for anything that
            /// the limit's algorithm cannot have left behind.
            pub fn read(reader: &mut Reader<'_>, limit: &Limit) -> Result<Self, Corrupt> {
                match (reader.byte()?, limit.rule()) {
                    (0, _) => Ok(Self::Fresh),
                    $(($tag, Rule::$name(rule)) => rule.read(reader).map(Self::$name),)+
                    _ => Err(Corrupt("state of another algorithm")),
                }
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
            pub fn far(&self) -> Option<Place> {
                match self {
                    Self::Fresh => None,
                    $(Self::$name(state) => <$rule as Algorithm>::far(state),)+
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
