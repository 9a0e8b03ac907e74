//! The functions that change states.
//!
//! They are the same code on a master and on its replicas: equal calls on equal states leave equal
//! states.
//!
//! `limits` and `states` belong together by position. A missing state counts as [`State::Fresh`]
//! and is passed over.

use super::algorithm::Filled;
use super::decision::Taken;
use super::layer::Layer;
use super::limit::Limit;
use super::state::State;
use crate::core::time::Micros;

/// Counts the units as used and records the time, on every limit. Returns when all are full again,
/// as [`full_at`] does.
#[inline]
pub fn take(limits: &[Limit], states: &mut [State], now: Micros, taken: &Taken) -> Filled {
    let mut filled = Filled { at: now, as_before: false };
    for (index, (limit, state)) in limits.iter().zip(states).enumerate() {
        filled = filled.or_later(limit.rule().take(state, now, taken.units(index)));
    }
    filled
}

/// Records a clock that stepped back (C1) and forgets what has expired.
pub fn touch(limits: &[Limit], states: &mut [State], now: Micros) -> Filled {
    take(limits, states, now, &Taken::default())
}

/// Gives back up to `units` of those in use on a limit, newest first. The newest `above` units are
/// passed over. Returns how many were given back, which is never more than were in use. A unit of a
/// bucket that was partly refilled counts as one.
///
/// ```
/// use floodgate::core::limits::{Limits, State, Taken, give_back, take};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"10/h").unwrap();
/// let mut states = [State::default()];
/// take(limits.as_slice(), &mut states, Micros(0), &Taken::new([4]));
/// let limit = &limits.as_slice()[0];
/// // The newest three are somebody else's.
/// assert_eq!(give_back(limit, &mut states[0], Micros(1), 3, 9), 1);
/// assert_eq!(give_back(limit, &mut states[0], Micros(1), 0, 9), 3);
/// ```
pub fn give_back(limit: &Limit, state: &mut State, now: Micros, above: u64, units: u64) -> u64 {
    limit.rule().give_back(state, now, above, units)
}

/// Returns what the state of a limit still shows of units that the limit granted at `granted`.
pub fn layer_at(limit: &Limit, state: &State, granted: Micros) -> Option<Layer> {
    limit.rule().layer(state, granted)
}

/// The moment at which units granted at `granted` have certainly left the limit. It is `granted` if
/// the limit does not charge by the unit (unlimited, concurrent). `None` if they stay until they
/// are given back.
pub fn left_by(limit: &Limit, granted: Micros) -> Option<Micros> {
    match (limit.rule(), limit.capacity()) {
        (rule, _) if rule.holds_places() => Some(granted),
        (_, None) => Some(granted),
        (rule, Some(_)) if !rule.comes_back() => None,
        (rule, Some(capacity)) => Some(rule.full_after(&State::Fresh, granted, capacity)),
    }
}

/// Charges units on one limit, even beyond its capacity. The debt is at most one capacity. Returns
/// the units charged; 0 on an unlimited limit.
pub fn charge(limit: &Limit, state: &mut State, now: Micros, units: u64) -> u64 {
    let charged = chargeable(limit, state, now, units);
    limit.rule().charge(state, now, charged);
    charged
}

/// The part of `units` that [`charge`] would charge. Units beyond a debt of one capacity are
/// dropped. Where a unit has come back in part, the last one is charged in part.
///
/// ```
/// use floodgate::core::limits::{Limits, State, chargeable};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"10/m").unwrap();
/// assert_eq!(chargeable(&limits.as_slice()[0], &State::default(), Micros(0), 50), 20);
/// ```
pub fn chargeable(limit: &Limit, state: &State, now: Micros, units: u64) -> u64 {
    limit.rule().chargeable(state, now, units)
}

/// The units that [`charge_all`] is to charge on each limit: those that are [`chargeable`], or one
/// call if the limit counts calls.
pub fn charges(limits: &[Limit], states: &[State], now: Micros, units: u64) -> Taken {
    Taken::new(limits.iter().zip(states).map(|(limit, state)| {
        chargeable(limit, state, now, if limit.per_call() { units.min(1) } else { units })
    }))
}

/// Counts units as used on every limit, as [`take`] does, although nobody asked whether they fit.
/// So they do not count as a sign that the units for which a block waits are back.
pub fn charge_all(limits: &[Limit], states: &mut [State], now: Micros, charged: &Taken) -> Filled {
    let mut filled = Filled { at: now, as_before: false };
    for (index, (limit, state)) in limits.iter().zip(states).enumerate() {
        filled = filled.or_later(limit.rule().charge(state, now, charged.units(index)));
    }
    filled
}

/// The moment at which every limit is full again if nobody asks (D4). The states then decide as
/// fresh ones do. It is `now` if they do already, and [`Micros::NEVER`] if they never will. If the
/// clock stepped back and no change recorded that, the result assumes that it will catch up.
///
/// ```
/// use floodgate::core::limits::{Limits, State, Taken, full_at, take};
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"bucket:1/s:burst=5").unwrap();
/// let mut states = [State::default()];
/// take(limits.as_slice(), &mut states, Micros(0), &Taken::new([3]));
/// assert_eq!(full_at(limits.as_slice(), &states, Micros(0)), Micros(3_000_000));
/// ```
pub fn full_at(limits: &[Limit], states: &[State], now: Micros) -> Micros {
    limits
        .iter()
        .zip(states)
        .map(|(limit, state)| limit.rule().full_untouched(state, now))
        .max()
        .unwrap_or(now)
}
