//! CB.STATE: a breaker for people. Looking changes nothing.

use crate::commands::arguments::ArgCursor;
use crate::core::breaker::{CircuitView, ReporterTally};
use crate::limiter::Error;
use crate::limiter::breaker::resolve::resolve_standing;
use crate::limiter::reply::signed;
use crate::limiter::resolve::Source;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::rules::BreakerRef;

/// `CB.STATE key`: a map, or nil when there is no breaker.
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
    let resolved = resolve_standing(ctx.main(), name.bytes(), Some(value), now);
    let (other, source) = match &resolved {
        Some(resolved) => (resolved.other.as_ref(), resolved.source),
        None => (None, Source::Last),
    };
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
    let text = |name: &str, value: &str| {
        reply::text(ctx, name);
        reply::text(ctx, value);
    };
    let number = |name: &str, value: i64| {
        reply::text(ctx, name);
        reply::integer(ctx, value);
    };
    reply::map(ctx, if reporters.is_some() { 17 } else { 15 });
    text("state", view.state.name());
    number("since", signed(view.since.0 / 1000));
    number("retry_after_ms", view.retry.millis());
    number("calls", signed(view.window.calls));
    number("failures", signed(view.window.failures));
    number("slow", signed(view.window.slow));
    text("failure_rate", &percent(view.failure_hundredths));
    text("slow_rate", &percent(view.slow_hundredths));
    number("openings", view.openings.into());
    number("epoch", signed(view.epoch));
    number("trials_in_flight", signed(view.trials_in_flight as u64));
    reply::text(ctx, "forced");
    match &view.forced {
        None => reply::null(ctx),
        Some(forced) => {
            reply::map(ctx, 2);
            number("until", forced.until.map_or(-1, |until| signed(until.ceil_millis())));
            reply::text(ctx, "reason");
            reply::bytes(ctx, &forced.reason);
        }
    }
    text("breaker", breaker);
    text("source", source.word().text());
    number("next_open_ms", signed(view.next_open_us.div_ceil(1000)));
    if let Some(ReporterTally { failing, slow }) = reporters {
        number("failing_reporters", failing.into());
        number("slow_reporters", slow.into());
    }
}

/// Hundredths of a percent as people write them: `50%`, `33.33%`.
fn percent(hundredths: u16) -> String {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match (part, part % 10) {
        (0, _) => format!("{whole}%"),
        (part, 0) => format!("{whole}.{}%", part / 10),
        (part, _) => format!("{whole}.{part:02}%"),
    }
}
