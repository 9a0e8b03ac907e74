//! Which breakers are open, by name, as CB.STATE tells each of them.

use super::resolve::resolve_standing;
use crate::core::breaker::{CircuitState, CircuitView};
use crate::core::time::Micros;
use crate::observe::alerts::LongestOpen;
use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::OwnedString;
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::not_closed::NOT_CLOSED;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::name_index::once_a_name;

/// What this part listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, sweep)];

/// A breaker that is not closed.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its key.
    pub name: Box<[u8]>,
    /// Its state.
    pub state: CircuitState,
    /// Since when.
    pub since: Micros,
    /// When a call would be admitted, in milliseconds, as CB.STATE tells it.
    pub retry_after_ms: i64,
    database: i32,
    /// Since when it was last closed.
    not_closed_since: Micros,
    trials_in_flight: usize,
}

/// All that are open, half-open or forced open, the longest so first. A name that
/// several databases have stands once: for the one in the caller's database, else for
/// the one that is so longest. At most [`name_index::MOST`](crate::types::name_index::MOST);
/// the gauges by state count every one.
pub fn list(ctx: &Context<'_>) -> Vec<Open> {
    let mut found = every_one(ctx);
    found.retain(|open| open.state != CircuitState::ForcedClosed);
    found.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.name.cmp(&b.name)));
    once_a_name(&mut found, ctx.database(), |open| (open.database, &open.name));
    found
}

/// All that are not closed, in any database.
fn every_one(ctx: &Context<'_>) -> Vec<Open> {
    let mut found = Vec::new();
    NOT_CLOSED.retain(ctx.main(), |(database, name), since| {
        ctx.in_database(*database, || {
            let string = OwnedString::new(ctx, name);
            let key = ctx.read(string.arg());
            let Ok(Some(value)) = key.value::<CbCircuit>() else { return false };
            let now = ctx.now();
            // Time has closed it for good, or it is over. Another breaker closes it only
            // as long as that holds.
            if value.is_over(now) || value.view(None, now).state == CircuitState::Closed {
                return false;
            }
            let CircuitView { state, since: state_since, retry, trials_in_flight, .. } =
                view(ctx, name, &value, now);
            if state != CircuitState::Closed {
                found.push(Open {
                    name: name.clone(),
                    state,
                    since: state_since,
                    retry_after_ms: retry.millis(),
                    database: *database,
                    not_closed_since: since,
                    trials_in_flight,
                });
            }
            true
        })
    });
    found
}

/// The circuit as CB.STATE tells of it: by the breaker that stands for its key now.
pub fn view(ctx: &Context<'_>, name: &[u8], value: &CbCircuit, now: Micros) -> CircuitView {
    let resolved = resolve_standing(ctx.main(), name, Some(value), now);
    let other = resolved.and_then(|resolved| resolved.other);
    value.view(other.as_ref().map(BreakerRef::breaker), now)
}

/// The most of its openness that is held against a key, in microseconds.
const MINUTE_US: u64 = 60_000_000;

/// The breaker that is open for longest, reopenings included: for how long it has not
/// been closed. One that only waits for a call to try it is not held to be open; nor
/// is one that an operator forced.
pub fn longest(ctx: &Context<'_>) -> LongestOpen {
    if NOT_CLOSED.is_empty(ctx.main()) {
        return LongestOpen::default();
    }
    let now = ctx.now();
    let mut all = every_one(ctx);
    all.retain(|one| match one.state {
        CircuitState::Open => true,
        CircuitState::HalfOpen => one.trials_in_flight > 0,
        CircuitState::Closed | CircuitState::ForcedOpen | CircuitState::ForcedClosed => false,
    });
    // A clock that stepped back makes what began later begin now.
    let open_us = |one: &Open| now.since(one.not_closed_since.min(one.since));
    let Some(longest) = all.iter().max_by_key(|one| open_us(one)) else { return LongestOpen::default() };
    let weight = |one: &Open| open_us(one).min(MINUTE_US);
    let total: u64 = all.iter().map(weight).sum();
    let surely = weight(longest) * 2 > total && !NOT_CLOSED.is_full(ctx.main());
    LongestOpen { seconds: open_us(longest) / 1_000_000, key: surely.then(|| longest.name.to_vec()) }
}

/// When there is no room for another name, makes some.
fn sweep(ctx: &Context<'_>) {
    if NOT_CLOSED.is_full(ctx.main()) {
        every_one(ctx);
    }
}
