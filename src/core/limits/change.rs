//! Usage finds its limit again after the limits of a key changed.
//!
//! Each limit owns its usage by its identity ([`Limit::same_identity`]). A call
//! with other limits than the last takes over the usage of those that it names
//! too, in any order; the usage of the others is kept aside until it has run
//! out or they are named again. So two versions of a client that take turns do
//! not disturb each other.

use super::rule::State;
use super::spec::Limit;
use crate::core::time::Micros;

/// The most limits whose usage is kept aside. Where there are more, the one
/// that would be empty soonest is forgotten.
pub const MAX_ORPHANS: usize = 56;

/// A limit that is not listed now, and what is in use of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// As it was last listed.
    pub limit: Limit,
    /// What it remembers.
    pub state: State,
}

/// The usage of the new limits, and what is kept aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realigned {
    /// One for each new limit, by position.
    pub states: Vec<State>,
    /// At most [`MAX_ORPHANS`], none of them empty.
    pub orphans: Vec<Orphan>,
}

/// Hands the usage of `old` limits and `orphans` on to `new` limits.
///
/// A changed count or burst keeps the units in use, even where they are more
/// than the new capacity. A named limit whose period changed keeps them as if
/// granted no earlier than they were; of another algorithm it starts fresh.
pub fn realign(
    old: &[Limit],
    old_states: Vec<State>,
    orphans: Vec<Orphan>,
    new: &[Limit],
    now: Micros,
) -> Realigned {
    let listed = old.iter().cloned().zip(old_states).map(|(limit, state)| Orphan { limit, state });
    let mut kept: Vec<Orphan> = orphans.into_iter().chain(listed).collect();
    let mut states = Vec::with_capacity(new.len());
    for limit in new {
        // From the back: what was listed last is the truth, should a payload
        // name a limit twice.
        let found = kept.iter().rposition(|orphan| orphan.limit.same_identity(limit));
        states.push(found.map_or(State::Fresh, |at| {
            let Orphan { limit: before, state } = kept.remove(at);
            limit.rule().carry(before.rule(), state, now)
        }));
    }
    kept.retain(|orphan| empty_at(orphan, now) > now);
    while kept.len() > MAX_ORPHANS {
        let soonest = kept.iter().enumerate().min_by_key(|(_, orphan)| empty_at(orphan, now));
        let Some((at, _)) = soonest else { break };
        kept.remove(at);
    }
    Realigned { states, orphans: kept }
}

fn empty_at(orphan: &Orphan, now: Micros) -> Micros {
    orphan.limit.rule().full_after(&orphan.state, now, 0)
}
