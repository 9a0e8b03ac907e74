//! Applies requests to circuits, propagates the changes to replicas and the AOF, and reports the
//! transitions.

use crate::core::breaker::CircuitState;
use crate::limiter::Error;
use crate::limiter::apply::{KeyEffect, expire, refused};
use crate::observe::{alerts, events, metrics};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::Key;
use crate::types::cbcircuit::CbCircuit;
use crate::types::effect::breaker::{AppliedBreaker, BreakerChange, BreakerEffect};
use crate::types::name_index::{NOT_CLOSED, PINNED};
use crate::types::ratelimit::Lifetime;
use std::ffi::CStr;

impl KeyEffect for BreakerEffect<'_> {
    type Outcome = AppliedBreaker;

    fn apply_to(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'_>,
        event: &'static CStr,
    ) -> Result<AppliedBreaker, Error> {
        let replaces = self.terms.begin.is_some() || matches!(self.change, BreakerChange::Become(_));
        let mut held = match key.value_mut::<CbCircuit>() {
            Err(_) if replaces => None,
            held => held?,
        };
        let mut applied = self.apply(ctx.main(), held.as_deref_mut()).map_err(refused)?;
        drop(held);
        settle(ctx, key, self, &mut applied, event);
        Ok(applied)
    }

    fn has_changed(outcome: &AppliedBreaker) -> bool {
        outcome.changed
    }

    fn encode_change(&self, _: &AppliedBreaker, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn tell(ctx: &Context<'_>, key: Arg<'_>, applied: &AppliedBreaker) {
        for transition in &applied.transitions {
            // A transition that time alone caused was counted when its time came.
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
            events::breaker_transition(ctx, key, transition);
        }
    }
}

/// Stores what the effect made, makes the key expire when it is forgotten, and notifies listeners
/// of the key. Does nothing if nothing changed.
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
    let mut arrives = applied.created.is_some();
    let mut keeps_pin = false;
    if let Some(created) = applied.created.take() {
        keeps_pin = created.recorded_pin().is_some();
        key.create(created);
    }
    expire(key, Lifetime::Until(applied.lifetime), effect.expires);
    key.changed(event);
    for transition in &applied.transitions {
        key.notify(arrival(transition.to));
        arrives = true;
    }
    if arrives {
        let is_open = applied.state != CircuitState::Closed;
        NOT_CLOSED.set(ctx.main(), (ctx.database(), key.name().bytes()), is_open, effect.now);
    }
    if keeps_pin
        || matches!(effect.change, BreakerChange::Pin(_) | BreakerChange::Unpin | BreakerChange::Become(_))
    {
        let held = key.value::<CbCircuit>().ok().flatten();
        let pinned = held.as_deref().is_some_and(|value| value.recorded_pin().is_some());
        PINNED.set(ctx.main(), (ctx.database(), key.name().bytes()), pinned, effect.now);
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
