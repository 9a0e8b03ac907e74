//! How a rule changes a state: it takes units, charges them, or gives them back.

use super::algorithm::{Algorithm, Filled};
use super::algorithms::algorithms;
use super::rule::Rule;
use super::state::State;
use crate::core::time::Micros;

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
