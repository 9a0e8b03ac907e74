//! Usage finds its limit again after the limits of a key changed.
//!
//! Each limit owns its usage by its identity ([`Limit::same_identity`]). A call
//! that grants under other limits than the last takes over the usage of those that
//! it names too, in any order; the usage of the others is kept aside until it has
//! run out or they are named again. So two versions of a client that take turns do
//! not disturb each other. A call that is denied changes nothing of this: it looks.

use super::rule::State;
use super::spec::Limit;
use crate::core::time::Micros;

/// The most limits whose usage is kept aside. Whoever decides grants nothing that
/// would need more ([`count_aside`]).
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
///
/// Where more than [`MAX_ORPHANS`] are left aside, as 0.1 allowed, those that would be
/// empty soonest are forgotten.
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
    orphan.limit.rule().over_at(&orphan.state, now)
}

/// The usage that `new` limits would take over, as a decision sees it: until one
/// grants, the units come back as the limits say under which they are kept.
///
/// ```
/// use floodgate::core::limits::{Limits, Request, State, decide, look_at, take, Taken};
/// use floodgate::core::retry_after::RetryAfter;
/// use floodgate::core::time::Micros;
///
/// let (slow, fast) = (Limits::parse(b"bucket:60/m").unwrap(), Limits::parse(b"bucket:6000/m").unwrap());
/// let mut states = [State::default()];
/// take(slow.as_slice(), &mut states, Micros(0), &Taken::new([60]));
/// let seen = look_at(slow.as_slice(), &states, &[], fast.as_slice(), Micros(0));
/// let denied = decide(fast.as_slice(), &seen, Micros(0), &Request::of(5945));
/// // 5 units are missing. One a second comes back until a call is granted.
/// assert_eq!(denied.status.retry, RetryAfter::After(5_000_000));
/// ```
pub fn look_at(
    old: &[Limit],
    old_states: &[State],
    orphans: &[Orphan],
    new: &[Limit],
    now: Micros,
) -> Vec<State> {
    let listed = old.iter().zip(old_states);
    let aside = orphans.iter().map(|orphan| (&orphan.limit, &orphan.state));
    let kept: Vec<_> = aside.chain(listed).collect();
    let found = |limit: &Limit| kept.iter().rfind(|(before, _)| before.same_identity(limit));
    new.iter()
        .map(|limit| {
            found(limit)
                .map_or(State::Fresh, |(before, state)| limit.rule().look_at(before.rule(), state, now))
        })
        .collect()
}

/// How many limits [`realign`] would leave aside with usage, were there no bound.
pub fn count_aside(
    old: &[Limit],
    old_states: &[State],
    orphans: &[Orphan],
    new: &[Limit],
    now: Micros,
) -> usize {
    let listed = old.iter().zip(old_states);
    let aside = orphans.iter().map(|orphan| (&orphan.limit, &orphan.state));
    let left = aside.chain(listed).filter(|(limit, state)| {
        limit.rule().over_at(state, now) > now && !new.iter().any(|named| named.same_identity(limit))
    });
    left.count()
}
