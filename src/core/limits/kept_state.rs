//! A state that another rule keeps: how it is carried over to a limit's own rule, and how it looks until
//! then.

use super::algorithm::Algorithm;
use super::algorithms::algorithms;
use super::rule::Rule;
use super::state::{KeptState, State};
use crate::core::time::Micros;

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
            pub(super) fn kept_falls_to(&self, kept: &KeptState, now: Micros, target: u64) -> Micros {
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
