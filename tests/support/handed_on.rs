//! What usage becomes under other limits, with exactly one state for each of them.

use floodgate::core::limits::{Limit, State, UnlistedLimit, hand_on, look_by_position};
use floodgate::core::time::Micros;

/// The usage of the new limits, and the usage that is kept aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realigned {
    /// One state for each new limit, by position.
    pub states: Vec<State>,
    /// At most `MAX_UNLISTED` limits, none of them without usage.
    pub unlisted: Vec<UnlistedLimit>,
}

/// Hands the usage of `old` limits and `unlisted` on to `new` limits.
pub fn realign(
    old: &[Limit],
    mut old_states: Vec<State>,
    mut unlisted: Vec<UnlistedLimit>,
    new: &[Limit],
    now: Micros,
) -> Realigned {
    let states = hand_on(old, &mut old_states, &mut unlisted, new, now);
    assert!(states[new.len()..].iter().all(|state| *state == State::Fresh));
    Realigned { states: states.into_iter().take(new.len()).collect(), unlisted }
}

/// The usage that `new` limits would take over, as a decision sees it.
pub fn look_at(
    old: &[Limit],
    old_states: &[State],
    unlisted: &[UnlistedLimit],
    new: &[Limit],
    now: Micros,
) -> Vec<State> {
    look_by_position(old, old_states, unlisted, new, now).into_iter().take(new.len()).collect()
}
