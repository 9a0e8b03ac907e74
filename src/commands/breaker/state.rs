//! CB.STATE: shows a breaker to people, and changes nothing.

use crate::commands::cursor::ArgCursor;
use crate::core::breaker::{CircuitView, ReporterTally};
use crate::limiter::Error;
use crate::limiter::breaker::resolve::{CircuitKey, ResolvedBreaker};
use crate::limiter::resolve::Source;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply::{self, Fields, Reply};
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::until::Until;

/// `CB.STATE key` replies a map, or nil if there is no circuit.
///
/// # Errors
/// A key of another type.
pub fn state(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<CbCircuit>()?;
    let Some(value) = held.as_deref().filter(|value| !value.is_over(now)) else {
        reply::null(ctx);
        return Ok(());
    };
    let found = CircuitKey::of(ctx.main(), name.bytes(), Some(value), now);
    let ResolvedBreaker { terms, source, .. } =
        found.resolve_without_call().unwrap_or_else(ResolvedBreaker::own);
    let other = terms.rule.as_ref();
    let rule = other.unwrap_or_else(|| value.rule());
    let view = value.view(other.map(BreakerRef::breaker), now);
    let tells = value.circuit().tells_reporters() || rule.breaker().reporters() > 1;
    send(ctx, &view, rule.canonical(), source, tells.then_some(view.reporters));
    Ok(())
}

fn send(
    ctx: &Context<'_>,
    view: &CircuitView,
    breaker: &str,
    source: Source,
    reporters: Option<ReporterTally>,
) {
    let forced = view.forced.as_ref().map(|forced| (Until::from(forced.until), &*forced.reason));
    let forced = forced.as_ref().map(|(until, reason)| [("until", until as &dyn Reply), ("reason", reason)]);
    let state: [(&str, &dyn Reply); 15] = [
        ("state", &view.state),
        ("since", &view.since.millis()),
        ("retry_after_ms", &view.retry),
        ("calls", &view.window.calls),
        ("failures", &view.window.failures),
        ("slow", &view.window.slow),
        ("failure_rate", &view.failure_rate.to_string()),
        ("slow_rate", &view.slow_rate.to_string()),
        ("openings", &u64::from(view.openings)),
        ("epoch", &view.epoch),
        ("trials_in_flight", &(view.trials_in_flight as u64)),
        ("forced", &forced.as_ref().map(|forced| Fields(forced))),
        ("breaker", &breaker),
        ("source", &source),
        ("next_open_ms", &view.next_open_us.div_ceil(1000)),
    ];
    let ReporterTally { failing, slow } = reporters.unwrap_or_default();
    let tallies: [(&str, &dyn Reply); 2] =
        [("failing_reporters", &u64::from(failing)), ("slow_reporters", &u64::from(slow))];
    let tallies = if reporters.is_some() { &tallies[..] } else { &[] };
    reply::map(ctx, &[&state, tallies].concat());
}
