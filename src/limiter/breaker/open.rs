//! The breakers that are not closed, by name, as CB.STATE shows each of them.

use super::resolve::CircuitKey;
use crate::core::breaker::{CircuitState, CircuitView, Forced};
use crate::core::time::Micros;
use crate::limiter::listed::{ListedKeys, look_at_each, once_a_name};
use crate::observe::alerts::WorstFigure;
use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::db_key::DbKey;
use crate::types::name_index::NOT_CLOSED;
use crate::types::until::Until;

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, sweep)];

/// A breaker that is not closed.
#[derive(Clone, Debug)]
pub struct Open {
    /// The state of the circuit.
    pub state: CircuitState,
    /// When the state began.
    pub since: Micros,
    /// The time until a call would be admitted, in milliseconds, as CB.STATE shows it.
    pub retry_after_ms: i64,
    /// The time since which the circuit has not been closed.
    not_closed_since: Micros,
    trials_in_flight: usize,
    forced: Option<Forced>,
}

/// A breaker that an operator forced.
#[derive(Clone, Debug)]
pub struct ForcedBreaker {
    /// Its state: forced open or forced closed.
    pub state: CircuitState,
    /// The operator's reason; empty if none was given.
    pub reason: Box<[u8]>,
    /// The end of the force.
    pub until: Until,
}

/// All breakers that are open, half-open or forced open. Those that have been so for longest come
/// first.
///
/// A name that several databases have is listed once: for the breaker in the caller's database, or
/// else for the one that has been so for longest. At most
/// [`name_index::MOST`](crate::types::name_index::MOST) are listed; the gauges by state count all.
pub fn list(ctx: &Context<'_>) -> ListedKeys<Open> {
    let mut found = every_one(ctx);
    found.retain(|(_, open)| open.state != CircuitState::ForcedClosed);
    found.sort_by(|(a, one), (b, other)| one.since.cmp(&other.since).then_with(|| a.name.cmp(&b.name)));
    once_a_name(ctx, found)
}

/// All breakers that operators forced, open or closed. Those that stay so for longest come first.
///
/// A name that several databases have is listed once: for the breaker in the caller's database, or
/// else for the one that stays forced for longest.
pub fn forced(ctx: &Context<'_>) -> ListedKeys<ForcedBreaker> {
    let forced = |(key, Open { state, forced, .. }): (DbKey, Open)| {
        let Forced { reason, until } = forced?;
        Some((key, ForcedBreaker { state, reason, until: until.into() }))
    };
    let mut found: Vec<_> = every_one(ctx).into_iter().filter_map(forced).collect();
    found.sort_by(|(a, one), (b, other)| other.until.cmp(&one.until).then_with(|| a.name.cmp(&b.name)));
    once_a_name(ctx, found)
}

/// All breakers that are not closed, in any database.
fn every_one(ctx: &Context<'_>) -> Vec<(DbKey, Open)> {
    look_at_each(ctx, &NOT_CLOSED, |key, not_closed_since| {
        let Ok(Some(value)) = key.value::<CbCircuit>() else { return (false, None) };
        let now = ctx.now();
        // If time has closed the breaker for good, or its key is over, it is forgotten. If only
        // another breaker closes it, that holds only as long as that breaker does.
        if value.is_over(now) || value.view(None, now).state == CircuitState::Closed {
            return (false, None);
        }
        let CircuitView { state, since, retry, trials_in_flight, forced, .. } =
            view(ctx, key.name().bytes(), &value, now);
        let retry_after_ms = retry.millis();
        let open = Open { state, since, retry_after_ms, not_closed_since, trials_in_flight, forced };
        (true, (state != CircuitState::Closed).then_some(open))
    })
}

/// The circuit as CB.STATE shows it, under the breaker that holds for its key now.
pub fn view(ctx: &Context<'_>, name: &[u8], value: &CbCircuit, now: Micros) -> CircuitView {
    let resolved = CircuitKey::of(ctx.main(), name, Some(value), now).resolve_without_call();
    let other = resolved.and_then(|resolved| resolved.terms.rule);
    value.view(other.as_ref().map(BreakerRef::breaker), now)
}

/// The longest time in microseconds that counts when keys are blamed for being open.
const MINUTE_US: u64 = 60_000_000;

/// The breaker that has been open for longest, reopenings included, with the time since it was last
/// closed. A breaker does not count as open if it only waits for a trial call, or if an operator
/// forced it.
pub fn longest(ctx: &Context<'_>) -> WorstFigure {
    if NOT_CLOSED.is_empty(ctx.main()) {
        return WorstFigure::default();
    }
    let now = ctx.now();
    let mut all = every_one(ctx);
    all.retain(|(_, one)| match one.state {
        CircuitState::Open => true,
        CircuitState::HalfOpen => one.trials_in_flight > 0,
        CircuitState::Closed | CircuitState::ForcedOpen | CircuitState::ForcedClosed => false,
    });
    // After the clock stepped back, what began later begins now.
    let open_us = |one: &Open| now.since(one.not_closed_since.min(one.since));
    let longest = all.iter().max_by_key(|(_, one)| open_us(one));
    let Some((key, longest)) = longest else { return WorstFigure::default() };
    let weight = |one: &Open| open_us(one).min(MINUTE_US);
    let total: u64 = all.iter().map(|(_, one)| weight(one)).sum();
    let surely = weight(longest) * 2 > total && !NOT_CLOSED.is_full(ctx.main());
    WorstFigure { value: open_us(longest) / 1_000_000, key: surely.then(|| key.name.to_vec()) }
}

/// Makes room in the index, if it has none for another name.
fn sweep(ctx: &Context<'_>) {
    if NOT_CLOSED.is_full(ctx.main()) {
        every_one(ctx);
    }
}
