//! What a rule reads from a state: the units in use, and when fewer of them are.

use super::algorithm::Algorithm;
use super::algorithms::algorithms;
use super::layer::Layer;
use super::rule::Rule;
use super::state::State;
use crate::core::time::Micros;

/// The figures that a state shows at a time.
pub(super) struct Seen {
    /// Units in use.
    pub used: u64,
    /// True if the state holds a later time.
    pub stepped_back: bool,
}

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
