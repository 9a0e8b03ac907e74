//! RL.RECORD, RL.STATS, RL.USAGE: what happened on a key, by hour and by day.

use super::arguments::{ScanOptions, number, scan_options};
use super::way_out;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::MAX_COUNT;
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::core::usage::{DAYS, Durations, HOURS, SeriesPeriod, Spend, UsageSeries, UsageTally, WorkOutcome};
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::commit;
use crate::limiter::reply::signed;
use crate::limiter::resolve::usage;
use crate::limiter::track;
use crate::observe::{alerts, metrics};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call;
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;

/// `RL.RECORD key OK|FAIL [CACHED] [SPEND decimal] [DUR d] [COUNT n]`
///
/// # Errors
/// Malformed arguments, a key of another type, or too many tracked keys.
pub fn record(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let how = walk.required()?;
    if !how.is("OK") && !how.is("FAIL") {
        return Err(way_out::none_of(how, "OK or FAIL"));
    }
    let mut outcome =
        WorkOutcome { ok: how.is("OK"), cached: false, count: 1, spend: Spend::default(), duration_ms: None };
    while let Some(option) = walk.option(&["CACHED", "SPEND", "DUR", "COUNT"])? {
        match option {
            "CACHED" => outcome.cached = true,
            "SPEND" => outcome.spend = Spend::parse(walk.value_of(option)?.bytes())?,
            "DUR" => {
                let us = duration::parse(walk.value_of(option)?.bytes())?;
                outcome.duration_ms = Some(us / duration::MILLISECOND);
            }
            _ => outcome.count = number(option, walk.value_of(option)?, 1, MAX_COUNT)?,
        }
    }
    let (failed, count, duration_ms) = (!outcome.ok, outcome.count, outcome.duration_ms);
    let now = ctx.now();
    let mut key = ctx.write(name);
    let may = track::may(ctx.main(), key.value::<RateLimit>()?.as_deref());
    if !may {
        return Err(Error::Other(
            "track-max keys are tracked already, raise that setting or clear some".to_owned(),
        ));
    }
    if key.is_missing() {
        apply::grows(ctx)?;
    }
    commit(ctx, &mut key, &apply::effect(ctx, now, RateLimitChange::Record(outcome)), c"rl.record")?;
    metrics::count(ctx.main(), |m| &mut m.records);
    metrics::add(ctx.main(), |m| if failed { &mut m.records_fail } else { &mut m.records_ok }, count);
    let duration_us = duration_ms.map(|ms| ms.saturating_mul(duration::MILLISECOND));
    if let Some(us) = duration_us {
        metrics::add(ctx.main(), |m| &mut m.response_count, count);
        metrics::add(ctx.main(), |m| &mut m.response_us_sum, us.saturating_mul(count));
    }
    alerts::result(ctx.main(), name.bytes(), now, failed, count, duration_us);
    reply::ok(ctx);
    Ok(())
}

/// `RL.STATS key [HOURS n] [DAYS n]`: nil for a key that is not tracked.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn stats(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let (mut hours, mut days) = (HOURS, DAYS);
    while let Some(option) = walk.option(&["HOURS", "DAYS"])? {
        let value = walk.value_of(option)?;
        match option {
            "HOURS" => hours = number(option, value, 0, HOURS)?,
            _ => days = number(option, value, 0, DAYS)?,
        }
    }
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    let Some(kept) = held.as_deref().and_then(|value| live(value, now)) else {
        reply::null(ctx);
        return Ok(());
    };
    let limits = match usage(ctx.main(), name.bytes(), held.as_deref(), None, now) {
        Ok(found) => found.map(|(limits, _)| limits),
        Err(_) => None,
    };
    let limits = limits.or_else(|| held.as_deref().and_then(RateLimit::limits)).map(|limits| {
        let set = limits.get(ctx.main());
        set.limits().iter().map(crate::core::limits::Limit::canonical).collect::<Vec<_>>().join(",")
    });
    let view = kept.at(now);
    reply::map(ctx, 7);
    reply::text(ctx, "limits");
    match limits {
        Some(text) => reply::text(ctx, &text),
        None => reply::null(ctx),
    }
    reply::text(ctx, "since_ms");
    reply::integer(ctx, signed(view.since().0 / 1000));
    reply::text(ctx, "last_ms");
    reply::integer(ctx, signed(view.last().0 / 1000));
    reply::text(ctx, "total");
    figures(ctx, view.total(), Some(view.durations()));
    reply::text(ctx, "today");
    figures(ctx, &view.get(SeriesPeriod::Day, SeriesPeriod::Day.of(now)), Some(view.durations_today()));
    series(ctx, "hours", &view, SeriesPeriod::Hour, hours, now);
    series(ctx, "days", &view, SeriesPeriod::Day, days, now);
    Ok(())
}

/// The newest `n` of a series in which something happened, the oldest of them first.
fn series(ctx: &Context<'_>, title: &str, usage: &UsageSeries, period: SeriesPeriod, n: u64, now: Micros) {
    let found = usage.newest(period, n, now);
    reply::text(ctx, title);
    reply::map(ctx, found.len());
    for (number, tally) in found {
        reply::text(ctx, &period.name(number));
        figures(ctx, tally, None);
    }
}

fn figures(ctx: &Context<'_>, tally: &UsageTally, durations: Option<&Durations>) {
    let numbers = [
        ("requests", signed(tally.requests)),
        ("granted", signed(tally.granted)),
        ("denied", signed(tally.denied)),
        ("denied_requests", signed(tally.denied_requests)),
        ("used", tally.used),
        ("ok", signed(tally.ok)),
        ("fail", signed(tally.fail)),
        ("cached", signed(tally.cached)),
    ];
    let texts = [
        ("error_rate", shortest(tally.error_rate())),
        ("cache_hit_rate", shortest(tally.hit_rate())),
        ("spend", tally.spend.to_string()),
    ];
    let percentiles = [("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)];
    reply::map(ctx, numbers.len() + texts.len() + durations.map_or(0, |_| percentiles.len()));
    for (name, n) in numbers {
        reply::text(ctx, name);
        reply::integer(ctx, n);
    }
    for (name, text) in &texts {
        reply::text(ctx, name);
        reply::text(ctx, text);
    }
    for (name, percent) in percentiles.iter().filter(|_| durations.is_some()) {
        reply::text(ctx, name);
        match durations.and_then(|durations| durations.percentile(*percent)) {
            Some(ms) => reply::integer(ctx, signed(ms)),
            None => reply::null(ctx),
        }
    }
}

/// A rate as people write it: at most reply decimals, and no more than needed.
fn shortest(rate: f64) -> String {
    let text = format!("{rate:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `RL.USAGE cursor [MATCH glob] [COUNT n]`: the next cursor, and a map of the
/// tracked keys found with today's figures. Keys that the user may not read are
/// passed over.
///
/// # Errors
/// Malformed arguments, or what SCAN answers.
pub fn scan(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let ScanOptions { cursor, pattern, count } = scan_options(&mut ArgCursor::new(args))?;
    let now = ctx.now();
    let found = call::scan(ctx, cursor, pattern, count).map_err(Error::Verbatim)?;
    let mut rows: Vec<(&[u8], UsageSeries)> = Vec::new();
    for name in &found.keys {
        let string = OwnedString::new(ctx, name);
        if !call::user_may_read(ctx, string.arg()) {
            continue;
        }
        let key = ctx.read(string.arg());
        if let Ok(Some(value)) = key.value::<RateLimit>()
            && let Some(usage) = live(&value, now)
        {
            rows.push((name, usage.at(now)));
        }
    }
    reply::array(ctx, 2);
    reply::bytes(ctx, &found.cursor);
    reply::map(ctx, rows.len());
    for (name, usage) in rows {
        reply::bytes(ctx, name);
        let today = usage.get(SeriesPeriod::Day, SeriesPeriod::Day.of(now));
        figures(ctx, &today, Some(usage.durations_today()));
    }
    Ok(())
}

/// The usage of a key, unless it is too old to be kept.
fn live(value: &RateLimit, now: Micros) -> Option<&UsageSeries> {
    value.usage().filter(|usage| usage.ends() > now)
}
