//! Which breakers are open, by name.

use crate::core::breaker::CircuitState;
use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::OwnedString;
use crate::types::cbcircuit::{CbCircuit, not_closed};

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
}

/// All that are open, half-open or forced open, the longest so first. At most
/// [`not_closed::MOST`]; the gauges by state count every one.
pub fn list(ctx: &Context<'_>) -> Vec<Open> {
    let mut found = Vec::new();
    not_closed::retain(ctx.main(), |(database, name)| {
        let open = ctx.in_database(*database, || look(ctx, name));
        let stays = open.is_some();
        found.extend(open.filter(|open| open.state != CircuitState::ForcedClosed));
        stays
    });
    found.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.name.cmp(&b.name)));
    found
}

/// The circuit of a key, unless there is none or it is closed.
fn look(ctx: &Context<'_>, name: &[u8]) -> Option<Open> {
    let now = ctx.now();
    let string = OwnedString::new(ctx, name);
    let mut key = ctx.read(string.arg());
    let held = key.value::<CbCircuit>().ok()??;
    let circuit = Some(&*held).filter(|circuit| !circuit.is_over(now))?;
    let view = circuit.view(None, now);
    let retry_after_ms = view.retry.millis();
    (view.state != CircuitState::Closed).then(|| Open {
        name: name.into(),
        state: view.state,
        since: view.since,
        retry_after_ms,
    })
}

/// When there is no room for another name, makes some.
fn sweep(ctx: &Context<'_>) {
    if not_closed::is_full(ctx.main()) {
        list(ctx);
    }
}
