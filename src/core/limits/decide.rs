//! Several limits as one decision. Nothing here changes a state.
//!
//! A request of n units fits a limit if `used + n` is at most what the requester may use of it: all
//! for a critical request, and otherwise all but the part that `keep=` keeps. It is granted if it
//! fits every enforcing limit.
//!
//! `limits` and `states` belong together by position.
//!
//! **Optimisation.** One limit that enforces and remembers no block is decided by `decide_one`. This
//! saves 4 % of the instructions of a granted RL.ACQUIRE bucket:30/m:burst=16 (commit 37560be). The
//! plain version is `decide_several`; `tests/core/decide.rs` compares both.

use super::closing::Closed;
use super::decision::{Decision, LimitMask, LimitStatus, Taken};
use super::limit::Limit;
use super::limit_set::MAX_LIMITS;
use super::limit_view::LimitView;
use super::per::Charge;
use super::request::Request;
use super::state::State;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// Decides a request on all limits together.
///
/// ```
/// use floodgate::core::limits::{Limits, Request, State, decide, take};
/// use floodgate::core::retry_after::RetryAfter;
/// use floodgate::core::time::Micros;
///
/// let limits = Limits::parse(b"2/s").unwrap();
/// let limits = limits.as_slice();
/// let mut states = [State::default()];
/// let now = Micros(1_000_000);
///
/// let decision = decide(limits, &states, now, &Request::of(2));
/// assert!(decision.is_granted());
/// // Deciding changes nothing; taking does.
/// take(limits, &mut states, now, &decision.taken);
///
/// let later = now.plus(400_000);
/// let decision = decide(limits, &states, later, &Request::of(1));
/// assert!(!decision.is_granted());
/// assert_eq!(decision.status.retry, RetryAfter::After(600_000));
/// ```
#[inline]
pub fn decide(limits: &[Limit], states: &[State], now: Micros, request: &Request) -> Decision {
    if let ([limit], [state]) = (limits, states)
        && let Some(capacity) = limit.capacity()
        && !limit.shadow()
        && state.block().is_none()
    {
        return decide_one(limit, capacity, state, now, request);
    }
    decide_several(limits, states, now, request)
}

/// Decides as [`decide_several`] does, on one limit that enforces and remembers no block.
#[inline]
fn decide_one(limit: &Limit, capacity: u64, state: &State, now: Micros, request: &Request) -> Decision {
    let seen = limit.rule().see(state, now);
    let mut view = LimitView::of(limit, capacity, seen.used, request.critical);
    let retry = view.units_wait(limit, state, now, request.least(limit));
    let mut closes = LimitMask::default();
    let (granted, units) = if retry == RetryAfter::Now {
        let granted = request.most(limit, view.free());
        (granted, charged(limit, request, granted))
    } else {
        if view.closes(limit, state, now, request, retry) {
            closes.insert(0);
        }
        (0, 0)
    };
    view.used = view.used.saturating_add(units);
    Decision {
        granted,
        status: view.status(limit, state, now, retry, units),
        binding: Some(0),
        taken: Taken::new([units]),
        shadow_denied: LimitMask::default(),
        closes,
        record_clock: seen.stepped_back,
    }
}

fn decide_several(limits: &[Limit], states: &[State], now: Micros, request: &Request) -> Decision {
    // The units in use are counted once, because that costs a division or the sum of slots.
    let mut views = [LimitView::NONE; MAX_LIMITS];
    let mut granted = request.cost;
    let mut record_clock = false;
    let mut closes = LimitMask::default();
    let mut any_shadow = false;
    // The longest wait among the limits that deny. Among equals the first limit binds.
    let mut longest = RetryAfter::Now;
    let mut binding = None;
    for (index, ((limit, state), view)) in limits.iter().zip(states).zip(&mut views).enumerate() {
        let Some(capacity) = limit.capacity() else { continue };
        let seen = limit.rule().see(state, now);
        record_clock |= seen.stepped_back;
        *view = LimitView::of(limit, capacity, seen.used, request.critical).with_block(state, now);
        if limit.shadow() {
            any_shadow = true;
            continue;
        }
        granted = granted.min(request.most(limit, view.room()));
        let wait = view.wait(limit, state, now, request.least(limit));
        if view.closes(limit, state, now, request, wait) {
            closes.insert(index);
        }
        if wait > longest {
            longest = wait;
            binding = Some(index);
        }
    }
    let mut taken = Taken::default();
    if binding.is_some() {
        granted = 0;
    } else {
        binding = charge_enforcing(limits, &mut views, request, granted, &mut taken);
    }
    let shadow_denied = if any_shadow {
        decide_shadows(limits, &views, request, granted, &mut taken)
    } else {
        LimitMask::default()
    };
    let status = binding.and_then(|index| {
        let (limit, state, view) = (limits.get(index)?, states.get(index)?, views.get(index)?);
        Some(view.status(limit, state, now, longest, taken.units(index)))
    });
    let status = status.unwrap_or(LimitStatus::UNLIMITED);
    let unlimited = |limit: &Limit| limit.capacity().is_none() && !limit.shadow();
    let binding = binding.or_else(|| limits.iter().position(unlimited));
    Decision { granted, status, binding, taken, shadow_denied, closes, record_clock }
}

/// Charges the granted units to the limits that enforce. Returns the limit that has the least room
/// left, the first of equals.
#[inline]
fn charge_enforcing(
    limits: &[Limit],
    views: &mut [LimitView],
    request: &Request,
    granted: u64,
    taken: &mut Taken,
) -> Option<usize> {
    let (mut least, mut binding) = (u64::MAX, None);
    for (index, (limit, view)) in limits.iter().zip(views).enumerate() {
        if limit.shadow() || limit.capacity().is_none() {
            continue;
        }
        let units = charged(limit, request, granted);
        taken.set(index, units);
        view.used = view.used.saturating_add(units);
        if view.room() < least || binding.is_none() {
            least = view.room();
            binding = Some(index);
        }
    }
    binding
}

/// The blocks that a denial begins, each with the position of its limit.
pub fn blocks<'a>(
    limits: &'a [Limit],
    states: &'a [State],
    now: Micros,
    request: &'a Request,
    closes: LimitMask,
) -> impl Iterator<Item = (usize, Closed)> + 'a {
    closes.iter().filter_map(move |index| {
        let (limit, state) = (limits.get(index)?, states.get(index)?);
        let capacity = limit.capacity()?;
        let view = LimitView::of(limit, capacity, limit.rule().used(state, now), request.critical);
        let demand = request.least(limit);
        let units_after = match view.units_wait(limit, state, now, demand) {
            RetryAfter::After(us) => us,
            RetryAfter::Now | RetryAfter::Never => 0,
        };
        let need = view.kept(capacity).saturating_add(demand);
        Some((index, limit.closing()?.block(state.block(), now, need, units_after)))
    })
}

/// The units that a limit is charged if `granted` units are granted.
#[inline]
const fn charged(limit: &Limit, request: &Request, granted: u64) -> u64 {
    match limit.charge() {
        Charge::Call => request.calls,
        Charge::Cost => granted,
    }
}

/// The shadow limits that would deny. Those that would not are charged the units that the enforcing
/// limits granted.
fn decide_shadows(
    limits: &[Limit],
    views: &[LimitView],
    request: &Request,
    granted: u64,
    taken: &mut Taken,
) -> LimitMask {
    let mut denied = LimitMask::default();
    for (index, (limit, view)) in limits.iter().zip(views).enumerate() {
        if !limit.shadow() || limit.capacity().is_none() {
            continue;
        }
        let room = view.room();
        if request.least(limit) > room {
            denied.insert(index);
        } else if granted > 0 {
            taken.set(index, charged(limit, request, granted.min(request.most(limit, room))));
        }
    }
    denied
}
