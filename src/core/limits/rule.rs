//! The one table that lists the algorithms, and what follows from it: the [`Rule`] of a limit, and
//! its [`State`].
//!
//! To add an algorithm, write its file and add its row to `algorithms!`.

use super::algorithm::{Algorithm, Filled};
use super::closing::Closed;
use super::layer::Layer;
use super::quantity::Reason;
use super::throttle::Arrival;
use crate::core::limits::options::LimitOptions;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader};

/// The row of an algorithm: its name and what only it has.
pub(super) struct AlgorithmRow {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub public: bool,
    pub closes: bool,
    pub parse: fn(&[u8], &LimitOptions<'_>) -> Result<Rule, Reason>,
}

/// The figures that a state shows at a time.
pub(super) struct Seen {
    /// Units in use.
    pub used: u64,
    /// True if the state holds a later time.
    pub stepped_back: bool,
}

/// Usage that another rule keeps, as a limit sees it that would take it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// The rule of the last grant. The units come back by this rule.
    rule: Rule,
    state: State,
    /// The state that the limit would have after a grant now.
    carried: State,
}

/// The tag of a state with a block. It is above the tags of the algorithms.
const CLOSED: u8 = 64;

/// The block of a limit, and its units in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedState {
    pub(super) block: Closed,
    /// The units in use. This is never another `ClosedState`.
    pub(super) units: State,
}

/// The table of the algorithms. `algorithms!(make)` gives its rows to the macro `make`: the name, the
/// type of the rule, and the tag of its states in payloads.
macro_rules! algorithms {
    ($make:ident) => {
        $make! {
            /// At most `count` units in any interval of `period`.
            Sliding(super::sliding::Sliding) = 1,
            /// A bucket that refills continuously.
            Bucket(super::bucket::Bucket) = 2,
            /// At most `count` units in each window.
            Fixed(super::fixed::Fixed) = 3,
            /// At most `count` reservations held at a time.
            Concurrent(super::concurrent::Concurrent) = 4,
            /// `CL.THROTTLE`, counted as redis-cell does.
            Throttle(super::throttle::Throttle) = 5,
        }
    };
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        /// The rule that a limit enforces: one of the algorithms, or nothing.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Rule {
            /// The limit grants every request.
            Unlimited,
            $($(#[$doc])* $name($rule),)+
        }

        pub(super) const TABLE: &[AlgorithmRow] = &[$(AlgorithmRow {
            name: <$rule as Algorithm>::NAME,
            options: <$rule as Algorithm>::OPTIONS,
            public: <$rule as Algorithm>::PUBLIC,
            closes: <$rule as Algorithm>::CLOSES,
            parse: |quantity, options| <$rule as Algorithm>::parse(quantity, options).map(Rule::$name),
        },)+];

        impl Rule {
            /// The name of the algorithm, such as `sliding`, `bucket` or `fixed`.
            pub const fn name(&self) -> &'static str {
                match self {
                    Self::Unlimited => "unlimited",
                    $(Self::$name(_) => <$rule as Algorithm>::NAME,)+
                }
            }

            /// The most units that can be in use; `None` for unlimited.
            #[inline]
            pub fn capacity(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => Some(rule.capacity()),)+
                }
            }

            /// True if `block=` can close a limit of this rule.
            pub const fn can_close(&self) -> bool {
                match self {
                    Self::Unlimited => false,
                    $(Self::$name(_) => <$rule as Algorithm>::CLOSES,)+
                }
            }

            /// True if reservations hold places on a limit of this rule, and nothing else takes from it.
            #[inline]
            pub const fn holds_places(&self) -> bool {
                match self {
                    Self::Unlimited => false,
                    $(Self::$name(_) => <$rule as Algorithm>::HOLDS_PLACES,)+
                }
            }

            /// False if units never come back by themselves.
            #[inline]
            pub(super) fn comes_back(&self) -> bool {
                match self {
                    Self::Unlimited => true,
                    $(Self::$name(rule) => rule.comes_back(),)+
                }
            }

            pub(super) fn period_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.period_us(),)+
                }
            }

            pub(super) fn covering_us(&self) -> Option<u64> {
                match self {
                    Self::Unlimited => None,
                    $(Self::$name(rule) => rule.covering_us(),)+
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

            /// False if the rule keeps no usage.
            #[inline]
            pub(super) fn keeps_usage(&self) -> bool {
                match self {
                    Self::Unlimited => true,
                    $(Self::$name(rule) => rule.keeps_usage(),)+
                }
            }
        }
    };
}
algorithms!(rules);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        /// The state that one limit remembers between calls.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub enum State {
            /// Nothing is used.
            #[default]
            Fresh,
            $($(#[$doc])* $name(<$rule as Algorithm>::State),)+
            /// The usage is kept under another rule, until units are taken under the limit's own.
            /// Only looks and decisions see this state; no key holds it.
            Kept(Box<KeptState>),
            /// The limit has a block that lasts or is remembered.
            Closed(Box<ClosedState>),
        }

        impl State {
            /// Appends the lossless encoding: a tag, then what the algorithm writes.
            pub fn write(&self, out: &mut Vec<u8>) {
                match self {
                    Self::Fresh => out.push(0),
                    $(Self::$name(state) => {
                        out.push($tag);
                        <$rule as Algorithm>::write(state, out);
                    })+
                    Self::Kept(kept) => kept.carried.write(out),
                    Self::Closed(closed) => {
                        out.push(CLOSED);
                        closed.block.write(out);
                        closed.units.write(out);
                    }
                }
            }

            /// Reads the state that [`State::write`] wrote under `rule`. The result equals what was
            /// written.
            ///
            /// # Errors
            /// [`Corrupt`] for the state of another algorithm, and for one that the rule's
            /// algorithm cannot have left behind.
            pub fn read(reader: &mut Reader<'_>, rule: &Rule) -> Result<Self, Corrupt> {
                match reader.byte()? {
                    CLOSED if rule.can_close() => {
                        let block = Closed::read(reader)?;
                        let tag = reader.byte()?;
                        Ok(Self::Closed(Box::new(ClosedState { block, units: Self::read_units(tag, reader, rule)? })))
                    }
                    tag => Self::read_units(tag, reader, rule),
                }
            }

            fn read_units(tag: u8, reader: &mut Reader<'_>, rule: &Rule) -> Result<Self, Corrupt> {
                match (tag, rule) {
                    (0, _) => Ok(Self::Fresh),
                    $(($tag, Rule::$name(rule)) => rule.read(reader).map(Self::$name),)+
                    _ => Err(Corrupt("state of another algorithm")),
                }
            }

            /// The bytes held outside the value itself.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Self::Fresh => 0,
                    $(Self::$name(state) => <$rule as Algorithm>::heap_bytes(state),)+
                    Self::Kept(kept) => size_of::<KeptState>() + kept.carried.heap_bytes(),
                    Self::Closed(closed) => size_of::<ClosedState>() + closed.units.heap_bytes(),
                }
            }

            /// The memory outside the state that a grant most likely writes.
            #[inline]
            pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
                match self {
                    Self::Fresh => None,
                    $(Self::$name(state) => <$rule as Algorithm>::prefetch_hint(state),)+
                    Self::Kept(_) => None,
                    Self::Closed(closed) => closed.units.prefetch_hint(),
                }
            }
        }
    };
}
algorithms!(states);

macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        impl Rule {
            /// The number of units in use at `now`.
            #[inline]
            pub fn used(&self, state: &State, now: Micros) -> u64 {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.used(state, now),)+
                    (_, State::Kept(kept)) => self.used(&kept.carried, now),
                    (_, State::Closed(closed)) => self.used(&closed.units, now),
                    _ => 0,
                }
            }

            /// Returns the two figures that a decision asks for first. One function returns both
            /// because their computations share divisions.
            #[inline]
            pub(super) fn see(&self, state: &State, now: Micros) -> Seen {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => Seen {
                        used: rule.used(state, now),
                        stepped_back: rule.stepped_back(state, now),
                    },)+
                    (_, State::Kept(kept)) => Seen {
                        used: self.used(&kept.carried, now),
                        stepped_back: kept.rule.stepped_back(&kept.state, now),
                    },
                    (_, State::Closed(closed)) => Seen {
                        used: self.used(&closed.units, now),
                        stepped_back: self.stepped_back(state, now),
                    },
                    _ => Seen { used: 0, stepped_back: false },
                }
            }

            /// The moment at which at most `target` units are in use, if nobody asks.
            pub fn falls_to(&self, state: &State, now: Micros, target: u64) -> Micros {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.falls_to(state, now, target),)+
                    (_, State::Kept(kept)) => self.kept_falls_to(kept, now, target),
                    (_, State::Closed(closed)) => self.falls_to(&closed.units, now, target),
                    _ => now,
                }
            }

            /// The moment at which nothing is in use and no block lasts, if `taken` units are taken
            /// now.
            #[inline]
            pub fn full_after(&self, state: &State, now: Micros, taken: u64) -> Micros {
                match (self, state) {
                    (Self::Unlimited, _) => now,
                    $((Self::$name(rule), State::$name(state)) => rule.full_after(state, now, taken),)+
                    (_, State::Kept(kept)) if taken == 0 => self.kept_falls_to(kept, now, 0),
                    (_, State::Kept(kept)) => self.full_after(&kept.carried, now, taken),
                    (_, State::Closed(closed)) => {
                        let full = self.full_after(&closed.units, now, taken);
                        closed.block.lasts_until(now).map_or(full, |end| end.max(full))
                    }
                    $((Self::$name(rule), _) => {
                        rule.full_after(&<$rule as Algorithm>::State::default(), now, taken)
                    })+
                }
            }

            /// The moment at which nothing is in use and no block is remembered, if nobody asks. If
            /// the clock stepped back and no change recorded that, the result assumes that it will
            /// catch up.
            #[inline]
            pub fn full_untouched(&self, state: &State, now: Micros) -> Micros {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => {
                        rule.full_after(state, now.max(rule.not_before(state)), 0)
                    })+
                    (_, State::Kept(kept)) => self.kept_falls_to(kept, now, 0),
                    (_, State::Closed(closed)) => {
                        self.full_untouched(&closed.units, now).max(closed.block.forgotten_at())
                    }
                    _ => now,
                }
            }

            /// True if the clock stepped back since the state was written.
            #[inline]
            pub fn stepped_back(&self, state: &State, now: Micros) -> bool {
                match (self, state) {
                    $((Self::$name(rule), State::$name(state)) => rule.stepped_back(state, now),)+
                    (_, State::Kept(kept)) => kept.rule.stepped_back(&kept.state, now),
                    (_, State::Closed(closed)) => {
                        closed.block.stepped_back(now) || self.stepped_back(&closed.units, now)
                    }
                    _ => false,
                }
            }

            /// Returns what the state still shows of units that were granted at `granted`.
            pub(super) fn layer(&self, state: &State, granted: Micros) -> Option<Layer> {
                match (self, state) {
                    $((Self::$name(rule), State::$name(own)) => rule.layer(own, granted),)+
                    (_, State::Closed(closed)) => self.layer(&closed.units, granted),
                    _ => None,
                }
            }
        }
    };
}
algorithms!(reads);

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        impl Rule {
            /// Counts `units` as used, whether they fit or not. Returns when nothing is in use any
            /// more.
            #[inline]
            pub(super) fn take(&self, state: &mut State, now: Micros, units: u64) -> Filled {
                match self {
                    Self::Unlimited => *state = State::Fresh,
                    $(Self::$name(rule) => {
                        if !matches!(state, State::$name(_)) {
                            if let State::Kept(kept) = state {
                                let mut carried = std::mem::take(&mut kept.carried);
                                let filled = self.take(&mut carried, now, units);
                                *state = carried;
                                return filled;
                            }
                            if matches!(state, State::Closed(_)) {
                                return self.take_closed(state, now, units);
                            }
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

            /// The part of `units` that a charge counts. Debt is at most one capacity.
            pub(super) fn chargeable(&self, state: &State, now: Micros, units: u64) -> u64 {
                match (self, state) {
                    (Self::Unlimited, _) => 0,
                    $((Self::$name(rule), State::$name(state)) => rule.chargeable(state, now, units),)+
                    (_, State::Kept(kept)) => self.chargeable(&kept.carried, now, units),
                    (_, State::Closed(closed)) => self.chargeable(&closed.units, now, units),
                    $((Self::$name(rule), _) => {
                        rule.chargeable(&<$rule as Algorithm>::State::default(), now, units)
                    })+
                }
            }

            /// Prepares the state for a charge of units that are chargeable. Part of a unit in use
            /// may count as not used then.
            fn make_room(&self, state: &mut State, now: Micros, units: u64) {
                match (self, &mut *state) {
                    $((Self::$name(rule), State::$name(own)) => {
                        rule.make_room(own, now, units);
                        if <$rule as Algorithm>::is_fresh(own) {
                            *state = State::Fresh;
                        }
                    })+
                    (_, State::Closed(closed)) => self.make_room(&mut closed.units, now, units),
                    _ => {}
                }
            }

            /// Counts up to `units` as not used, passing over the newest `above`. Returns how many
            /// were given back.
            pub(super) fn give_back(&self, state: &mut State, now: Micros, above: u64, units: u64) -> u64 {
                match (self, &mut *state) {
                    $((Self::$name(rule), State::$name(own)) => {
                        let given = rule.give_back(own, now, above, units);
                        if <$rule as Algorithm>::is_fresh(own) {
                            *state = State::Fresh;
                        }
                        given
                    })+
                    (_, State::Closed(closed)) => {
                        let given = self.give_back(&mut closed.units, now, above, units);
                        self.note_units(&mut closed.block, &closed.units, now);
                        given
                    }
                    _ => 0,
                }
            }
        }
    };
}
algorithms!(changes);

macro_rules! carries {
    ($($(#[$doc:meta])* $name:ident($rule:ty) = $tag:literal,)+) => {
        impl Rule {
            /// Turns `state`, which was kept under `old`, into a state of `self`. The units in use
            /// and the block stay. If the algorithm changed, no units stay.
            pub(super) fn carry(&self, old: &Self, mut state: State, now: Micros) -> State {
                if let State::Closed(closed) = state {
                    let units = self.carry(old, closed.units, now);
                    return self.keep_block(closed.block, units, now);
                }
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

            /// Shows `state`, which is kept under `old`, as a decision under `self` sees it. Until
            /// units are taken under `self`, they come back by `old`.
            pub(super) fn look_at(&self, old: &Self, state: &State, now: Micros) -> State {
                if let State::Closed(closed) = state {
                    let units = self.look_at(old, &closed.units, now);
                    return self.keep_block(closed.block, units, now);
                }
                let carried = self.carry(old, state.clone(), now);
                let same_pace = match (self, old) {
                    $((Self::$name(rule), Self::$name(old)) => rule.same_pace(old),)+
                    _ => true,
                };
                if same_pace || carried == State::Fresh {
                    return carried;
                }
                State::Kept(Box::new(KeptState { rule: old.clone(), state: state.clone(), carried }))
            }

            #[cold]
            fn kept_falls_to(&self, kept: &KeptState, now: Micros, target: u64) -> Micros {
                if self.used(&kept.carried, now) <= target {
                    return now;
                }
                match (self, &kept.rule, &kept.state) {
                    $((Self::$name(rule), Self::$name(old), State::$name(state)) => {
                        rule.kept_falls_to(old, state, now, target)
                    })+
                    _ => now,
                }
            }
        }
    };
}
algorithms!(carries);

impl Rule {
    /// The same as `take`, for units that are chargeable. Debt is cut to one capacity.
    pub(super) fn charge(&self, state: &mut State, now: Micros, units: u64) -> Filled {
        if units > 0 {
            self.make_room(state, now, units);
        }
        match state {
            State::Closed(_) => self.change_closed(state, now, units),
            _ => self.take(state, now, units),
        }
    }
}

impl State {
    /// The arrival time of a `CL.THROTTLE` limit. For any other limit it is that of a fresh
    /// one.
    pub fn arrival(&self) -> Arrival {
        if let Self::Throttle(arrival) = self { *arrival } else { Arrival::default() }
    }

    /// The state of a `CL.THROTTLE` limit with this arrival time.
    pub fn of_arrival(arrival: Arrival) -> Self {
        if arrival == Arrival::default() { Self::Fresh } else { Self::Throttle(arrival) }
    }
}

// The key of one limit must stay small, and arrays of states tightly packed.
const _: () = assert!(size_of::<State>() <= 40 && align_of::<State>() == 8);
