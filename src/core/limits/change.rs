//! How usage finds its limit again after the limits of a key changed.
//!
//! Each limit owns its usage by its identity ([`Limit::same_identity`]). A call that is granted
//! under other limits than the last takes over the usage of those that it names, too, in any order.
//! The usage of the others is kept aside until it has run out or they are named again. So two
//! versions of a client that take turns do not disturb each other. A call that is denied changes
//! none of this.

use super::decision::LimitMask;
use super::limit::Limit;
use super::limit_set::MAX_LIMITS;
use super::state::State;
use crate::core::time::Micros;
use std::array;

/// The most limits whose usage is kept aside. A request that would need more is denied
/// ([`count_unlisted`]).
pub const MAX_UNLISTED: usize = 56;

/// A limit that is not listed now, and its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlistedLimit {
    /// The limit as it was last listed.
    pub limit: Limit,
    /// The usage of the limit.
    pub state: State,
}

/// Hands the usage of `old` limits and `unlisted` on to `new` limits. Returns the states by position;
/// those beyond the limits are fresh. What is left in `old_states` counts no more. `unlisted` then
/// holds at most [`MAX_UNLISTED`] limits, none of them without usage.
///
/// If the count or burst changed, the units in use stay, even if they are more than the new
/// capacity. If the period of a named limit changed, they stay as if granted no earlier than they
/// were. Units that have come back by the old period stay back. If its algorithm changed, it starts
/// fresh.
///
/// Version 0.1 could leave more than [`MAX_UNLISTED`] limits aside. Those that would be empty
/// soonest are then forgotten.
pub fn hand_on(
    old: &[Limit],
    old_states: &mut [State],
    unlisted: &mut Vec<UnlistedLimit>,
    new: &[Limit],
    now: Micros,
) -> [State; MAX_LIMITS] {
    let mut handed_on = LimitMask::default();
    let states = array::from_fn(|index| {
        let Some(limit) = new.get(index) else { return State::Fresh };
        // Search from the back: if a payload names a limit twice, the one that was listed last
        // counts.
        let mut listed = old.iter().zip(&mut *old_states).enumerate();
        let found = listed.rfind(|(at, (before, _))| !handed_on.contains(*at) && before.same_identity(limit));
        if let Some((at, (before, state))) = found {
            handed_on.insert(at);
            return limit.rule().carry(before.rule(), std::mem::take(state), now);
        }
        match unlisted.iter().rposition(|one| one.limit.same_identity(limit)) {
            Some(at) => {
                let UnlistedLimit { limit: before, state } = unlisted.remove(at);
                limit.rule().carry(before.rule(), state, now)
            }
            None => State::Fresh,
        }
    });
    unlisted.retain(|one| empty_at(&one.limit, &one.state, now) > now);
    for (at, (limit, state)) in old.iter().zip(old_states).enumerate() {
        if !handed_on.contains(at) && empty_at(limit, state, now) > now {
            unlisted.push(UnlistedLimit { limit: limit.clone(), state: std::mem::take(state) });
        }
    }
    while unlisted.len() > MAX_UNLISTED {
        let soonest = |(_, one): &(usize, &UnlistedLimit)| empty_at(&one.limit, &one.state, now);
        let Some((at, _)) = unlisted.iter().enumerate().min_by_key(soonest) else { break };
        unlisted.remove(at);
    }
    states
}

fn empty_at(limit: &Limit, state: &State, now: Micros) -> Micros {
    limit.rule().over_at(state, now)
}

/// The usage that `new` limits would take over, as a decision sees it, by position. The states beyond
/// the limits are fresh. Until a call is granted under them, units come back by the limits under
/// which they are kept.
///
/// ```
/// use floodgate::core::limits::{Limits, Request, State, decide, look_by_position, take, Taken};
/// use floodgate::core::retry_after::RetryAfter;
/// use floodgate::core::time::Micros;
///
/// let (slow, fast) = (Limits::parse(b"bucket:60/m").unwrap(), Limits::parse(b"bucket:6000/m").unwrap());
/// let mut states = [State::default()];
/// take(slow.as_slice(), &mut states, Micros(0), &Taken::new([60]));
/// let seen = look_by_position(slow.as_slice(), &states, &[], fast.as_slice(), Micros(0));
/// let denied = decide(fast.as_slice(), &seen, Micros(0), &Request::of(5945));
/// // 5 units are missing. One a second comes back until a call is granted.
/// assert_eq!(denied.status.retry, RetryAfter::After(5_000_000));
/// ```
pub fn look_by_position(
    old: &[Limit],
    old_states: &[State],
    unlisted: &[UnlistedLimit],
    new: &[Limit],
    now: Micros,
) -> [State; MAX_LIMITS] {
    let unlisted = || unlisted.iter().map(|one| (&one.limit, &one.state));
    array::from_fn(|index| {
        let Some(limit) = new.get(index) else { return State::Fresh };
        let is_it = |(before, _): &(&Limit, &State)| before.same_identity(limit);
        let found = old.iter().zip(old_states).rfind(is_it).or_else(|| unlisted().rfind(is_it));
        found.map_or(State::Fresh, |(before, state)| limit.rule().look_at(before.rule(), state, now))
    })
}

/// The number of limits that [`hand_on`] would leave aside with usage, if there were no bound.
pub fn count_unlisted(
    old: &[Limit],
    old_states: &[State],
    unlisted: &[UnlistedLimit],
    new: &[Limit],
    now: Micros,
) -> usize {
    let listed = old.iter().zip(old_states);
    let unlisted = unlisted.iter().map(|one| (&one.limit, &one.state));
    let left = unlisted.chain(listed).filter(|(limit, state)| {
        empty_at(limit, state, now) > now && !new.iter().any(|named| named.same_identity(limit))
    });
    left.count()
}
