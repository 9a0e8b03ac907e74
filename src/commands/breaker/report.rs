//! CB.REPORT: the result of a call.

use crate::commands::arguments::ArgCursor;
use crate::commands::way_out;
use crate::core::breaker::{CircuitState, Permit, REPORTER_BYTES, Report, ReportOutcome, Reporter};
use crate::core::text::duration;
use crate::limiter::Error;
use crate::limiter::apply::grows;
use crate::limiter::breaker::apply::{propagate, refused, settle, tell};
use crate::limiter::breaker::resolve::resolve_report;
use crate::limiter::breaker::words::send_state;
use crate::observe::{alerts, metrics};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::types::cbcircuit::CbCircuit;
use crate::types::effect::breaker::BreakerChange;

/// What the caller says.
#[derive(Clone, Copy, Debug)]
struct ReportCall<'a> {
    key: Arg<'a>,
    report: Report,
    breaker: Option<&'a [u8]>,
}

fn parse<'a>(args: Args<'a>) -> Result<ReportCall<'a>, Error> {
    let mut walk = ArgCursor::new(args);
    let key = walk.required()?;
    let how = walk.required()?;
    let outcome = if how.is("OK") {
        ReportOutcome::Ok
    } else if how.is("FAIL") {
        ReportOutcome::Fail
    } else if how.is("IGNORE") {
        ReportOutcome::Ignore
    } else {
        return Err(way_out::none_of(how, "OK, FAIL or IGNORE"));
    };
    let report = Report::new(outcome, None, None);
    let mut call = ReportCall { key, report, breaker: None };
    while let Some(option) = walk.option(&["TOKEN", "DUR", "BREAKER", "FROM"])? {
        let value = walk.value_of(option)?.bytes();
        match option {
            "TOKEN" => call.report.ticket = Some(Permit::parse(value)?),
            "DUR" => call.report.duration_us = Some(duration::parse(value)?),
            "FROM" => call.report.reporter = named(value)?,
            _ => call.breaker = Some(value),
        }
    }
    Ok(call)
}

fn named(name: &[u8]) -> Result<Reporter, Error> {
    let expected = || Error::Range { name: "FROM", expected: format!("1 to {REPORTER_BYTES} bytes") };
    Reporter::named(name).ok_or_else(expected)
}

/// `CB.REPORT key OK|FAIL|IGNORE [TOKEN t] [DUR d] [BREAKER breaker] [FROM id]`:
/// `[applied, state]`.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn report(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let ReportCall { key: name, mut report, breaker } = parse(args)?;
    let mut key = ctx.write(name);
    let mut held = key.value_mut::<CbCircuit>()?;
    // In this order, so that the window arrives while the clock is read.
    if let Some(far) = held.as_deref().and_then(|circuit| circuit.circuit().prefetch_hint()) {
        prefetch(far);
    }
    let now = ctx.now();
    let resolved = resolve_report(ctx.main(), name.bytes(), held.as_deref(), breaker, now)?;
    // A token is of a circuit that was there; a new one does not know it.
    let asks = resolved.filter(|resolved| !resolved.missing || report.ticket.is_none());
    if held.is_none() && asks.is_some() {
        grows(ctx)?;
    }
    let (counted, state) = match asks {
        Some(resolved) => {
            if report.reporter.is_named() && !resolved.may_tell_reporters(held.as_deref(), &report) {
                // Nobody asks who it is: replicas need not hear it.
                report.reporter = Reporter::UNNAMED;
            }
            let effect = resolved.effect(ctx, now, BreakerChange::Report(report));
            let mut applied = effect.apply(ctx.main(), held.as_deref_mut()).map_err(refused)?;
            drop(held);
            settle(ctx, &mut key, &effect, &mut applied, c"cb.report");
            propagate(ctx, name, &effect, &applied);
            tell(ctx, name, &applied);
            (applied.counted, applied.state)
        }
        None => (false, CircuitState::Closed),
    };
    metrics::count(ctx.main(), |m| match (counted, report.outcome) {
        (false, _) => &mut m.breaker_stale_reports,
        (true, ReportOutcome::Ok) => &mut m.breaker_reports_ok,
        (true, ReportOutcome::Fail) => &mut m.breaker_reports_fail,
        (true, ReportOutcome::Ignore) => &mut m.breaker_reports_ignore,
    });
    if counted && report.outcome != ReportOutcome::Ignore {
        alerts::result(
            ctx.main(),
            name.bytes(),
            now,
            report.outcome == ReportOutcome::Fail,
            1,
            report.duration_us,
        );
        if let Some(us) = report.duration_us {
            metrics::count(ctx.main(), |m| &mut m.response_count);
            metrics::add(ctx.main(), |m| &mut m.response_us_sum, us);
        }
    }
    reply::array(ctx, 2);
    reply::integer(ctx, counted.into());
    send_state(ctx, state);
    Ok(())
}
