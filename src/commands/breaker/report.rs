//! CB.REPORT: the result of a call.

use crate::commands::arguments::{BREAKER, ID, KEY};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::{Options, flags};
use crate::core::breaker::{CircuitState, Permit, REPORTER_BYTES, Report, ReportOutcome, Reporter};
use crate::core::stats::alerts::EndedCalls;
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{grows, propagate, refused};
use crate::limiter::breaker::apply::settle;
use crate::limiter::breaker::resolve::CircuitKey;
use crate::observe::{alerts, metrics};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::load::argument::Argument;
use crate::types::cbcircuit::CbCircuit;
use crate::types::effect::breaker::BreakerChange;

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
struct ReportCall<'a> {
    key: Arg<'a>,
    report: Report,
    breaker: Option<&'a [u8]>,
}

const OUTCOMES: [(&str, ReportOutcome); 3] =
    [("OK", ReportOutcome::Ok), ("FAIL", ReportOutcome::Fail), ("IGNORE", ReportOutcome::Ignore)];
/// `key OK|FAIL|IGNORE [TOKEN t] [DUR d] [BREAKER breaker] [FROM id]`
pub const ARGUMENTS: &[Argument] = &[
    KEY,
    Argument::one_of("outcome", const { &flags(&OUTCOMES) }),
    Argument::text("token").after("TOKEN").optional(),
    Argument::text("duration").after("DUR").optional(),
    BREAKER.after("BREAKER").optional(),
    ID.after("FROM").optional(),
];

fn parse<'a>(args: Args<'a>) -> Result<ReportCall<'a>, Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let report = Report::new(cursor.choice(&OUTCOMES)?, None, None);
    let mut call = ReportCall { key, report, breaker: None };
    while let Some((option, value)) = cursor.option(const { &Options::of(ARGUMENTS) })? {
        let value = value.bytes();
        match option {
            "TOKEN" => call.report.permit = Some(Permit::parse(value)?),
            "DUR" => call.report.duration_us = Some(duration::parse(value)?),
            "FROM" => call.report.reporter = named(value)?,
            "BREAKER" => call.breaker = Some(value),
            _ => return Err(hints::not_taken(option)),
        }
    }
    Ok(call)
}

fn named(name: &[u8]) -> Result<Reporter, Error> {
    let expected = || Error::Range { name: "FROM", expected: format!("1 to {REPORTER_BYTES} bytes") };
    Reporter::named(name).ok_or_else(expected)
}

/// `CB.REPORT key OK|FAIL|IGNORE [TOKEN t] [DUR d] [BREAKER breaker] [FROM id]` replies `[applied,
/// state]`.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn report(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let ReportCall { key: name, mut report, breaker } = parse(args)?;
    let mut key = ctx.write(name);
    let mut held = key.value_mut::<CbCircuit>()?;
    // The window is fetched from memory while the clock is read.
    if let Some(hint) = held.as_deref().and_then(|circuit| circuit.circuit().prefetch_hint()) {
        prefetch(hint);
    }
    let now = ctx.now();
    let found = CircuitKey::of(ctx.main(), name.bytes(), held.as_deref(), now);
    let resolved = found.resolve_report(breaker)?;
    // A token belongs to a circuit that existed. A new circuit does not know it.
    let asks = resolved.filter(|resolved| !resolved.missing || report.permit.is_none());
    if held.is_none() && asks.is_some() {
        grows(ctx)?;
    }
    let (counted, state) = match asks {
        Some(resolved) => {
            if report.reporter.is_named() && !resolved.may_tell_reporters(held.as_deref(), &report) {
                // No breaker asks who reports, so replicas need not get the name.
                report.reporter = Reporter::UNNAMED;
            }
            let effect = resolved.effect(ctx, held.as_deref(), now, BreakerChange::Report(report));
            let mut applied = match effect.apply(ctx.main(), held.as_deref_mut()) {
                Ok(applied) => applied,
                Err(corrupt) => return Err(refused(corrupt)),
            };
            drop(held);
            settle(ctx, &mut key, &effect, &mut applied, c"cb.report");
            propagate(ctx, name, &effect, &applied);
            (applied.counted, applied.state)
        }
        None => (false, CircuitState::Closed),
    };
    count(ctx, name, &report, counted, now);
    reply::array(ctx, &[&i64::from(counted), &state]);
    Ok(())
}

/// Counts a report in the metrics. A report that counts for the breaker also goes to the alerts.
fn count(ctx: &Context<'_>, name: Arg<'_>, report: &Report, counted: bool, now: Micros) {
    metrics::count(ctx.main(), |m| match (counted, report.outcome) {
        (false, _) => &mut m.breaker_stale_reports,
        (true, ReportOutcome::Ok) => &mut m.breaker_reports_ok,
        (true, ReportOutcome::Fail) => &mut m.breaker_reports_fail,
        (true, ReportOutcome::Ignore) => &mut m.breaker_reports_ignore,
    });
    if counted && report.outcome != ReportOutcome::Ignore {
        let failed = report.outcome == ReportOutcome::Fail;
        let call = EndedCalls { count: 1, failed, duration_us: report.duration_us };
        alerts::ended(ctx.main(), name.bytes(), now, call);
        if let Some(us) = report.duration_us {
            metrics::count(ctx.main(), |m| &mut m.response_count);
            metrics::add(ctx.main(), |m| &mut m.response_us_sum, us);
        }
    }
}
