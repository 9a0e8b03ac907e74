//! From an answer of a circuit to the key, the replicas, the AOF and whoever
//! listens.

use crate::core::breaker::CircuitState;
use crate::core::time::Micros;
use crate::core::wire::Corrupt;
use crate::limiter::Error;
use crate::observe::{alerts, events, metrics};
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThreadCell;
use crate::types::cbcircuit::{CbCircuit, not_closed};
use crate::types::effect::breaker::{AppliedBreaker, BreakerChange, BreakerEffect};
use crate::types::effect::ratelimit::COMMAND;
use crate::types::operator::PINNED;
use std::ffi::CStr;

/// Payloads are built here, so that none is allocated.
static PAYLOAD: MainThreadCell<Vec<u8>> = MainThreadCell::new(Vec::new());

/// Asks the circuit of the key, propagates what changed and tells who listens.
///
/// # Errors
/// The key holds another type, or the effect does not fit.
pub fn commit(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &BreakerEffect<'_>,
    event: &'static CStr,
) -> Result<AppliedBreaker, Error> {
    let applied = apply(ctx, key, effect, event)?;
    propagate(ctx, key.name(), effect, &applied);
    tell(ctx, key.name(), &applied);
    Ok(applied)
}

/// Asks the circuit of the key, and lets the key expire when it is forgotten.
/// Master and replica both come through here.
///
/// # Errors
/// As [`commit`].
pub fn apply(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &BreakerEffect<'_>,
    event: &'static CStr,
) -> Result<AppliedBreaker, Error> {
    let replaces = effect.begin.is_some() || matches!(effect.change, BreakerChange::Become { .. });
    if replaces && !key.is_missing() && key.value::<CbCircuit>().is_err() {
        key.delete();
    }
    let mut held = key.value_mut::<CbCircuit>()?;
    let mut applied = effect.apply(ctx.main(), held.as_deref_mut()).map_err(refused)?;
    drop(held);
    settle(ctx, key, effect, &mut applied, event);
    Ok(applied)
}

/// The error of an effect that does not fit.
#[cold]
pub fn refused(corrupt: Corrupt) -> Error {
    Error::Other(format!("effect refused: {corrupt}"))
}

/// Stores what the effect made, lets the key expire when it is forgotten, and
/// tells those who watch the key. Nothing, where nothing changed.
pub fn settle(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &BreakerEffect<'_>,
    applied: &mut AppliedBreaker,
    event: &'static CStr,
) {
    if !applied.changed {
        return;
    }
    let mut arrives = false;
    if let Some(created) = applied.created.take() {
        key.create(created);
        arrives = true;
    }
    if effect.expires {
        key.expire_at(applied.lifetime.end());
    } else if key.expiry().is_some() {
        // Under the debug clock the server's own clock must not end the key.
        key.expire_at(None);
    }
    key.changed(event);
    for transition in applied.transitions() {
        key.notify(arrival(transition.to));
        arrives = true;
    }
    if arrives {
        not_closed::became(ctx.main(), ctx.database(), key.name().bytes(), applied.state, effect.now);
    }
    if matches!(effect.change, BreakerChange::Pin(_) | BreakerChange::Unpin | BreakerChange::Become { .. }) {
        let held = key.value::<CbCircuit>().ok().flatten();
        let pinned = held.as_deref().is_some_and(|value| value.pin(effect.now).is_some());
        PINNED.set(ctx.main(), (ctx.database(), key.name().bytes()), pinned, effect.now);
    }
}

/// Sends the effect to replicas and the AOF, if anything changed.
pub fn propagate(ctx: &Context<'_>, key: Arg<'_>, effect: &BreakerEffect<'_>, applied: &AppliedBreaker) {
    if !applied.changed {
        return;
    }
    if replicate::is_propagated(ctx) {
        let mut payload = PAYLOAD.of(ctx.main()).borrow_mut();
        payload.clear();
        effect.encode(&mut payload);
        replicate::effect(ctx, COMMAND, key, &payload);
    } else {
        replicate::count_only(ctx);
    }
}

/// Counts and publishes what happened. Only where it was decided: a replica
/// that follows says nothing.
pub fn tell(ctx: &Context<'_>, key: Arg<'_>, applied: &AppliedBreaker) {
    for transition in applied.transitions() {
        // What time did alone was counted when its time came.
        if !transition.by_time {
            metrics::count(ctx.main(), |m| match transition.to {
                CircuitState::Closed => &mut m.breaker_to_closed,
                CircuitState::Open => &mut m.breaker_to_open,
                CircuitState::HalfOpen => &mut m.breaker_to_half_open,
                CircuitState::ForcedOpen => &mut m.breaker_to_forced_open,
                CircuitState::ForcedClosed => &mut m.breaker_to_forced_closed,
            });
        }
        if transition.to == CircuitState::Open {
            alerts::opened(ctx, key.bytes(), transition.at);
        }
        events::breaker_transition(ctx, key, &transition);
    }
}

/// The keyspace event of a transition.
const fn arrival(state: CircuitState) -> &'static CStr {
    match state {
        CircuitState::Closed => c"cb.closed",
        CircuitState::Open => c"cb.open",
        CircuitState::HalfOpen => c"cb.half-open",
        CircuitState::ForcedOpen => c"cb.forced-open",
        CircuitState::ForcedClosed => c"cb.forced-closed",
    }
}

/// The end of a length of time from now.
pub fn after(now: Micros, us: u64) -> Micros {
    now.plus(us).min(Micros::MAX)
}
