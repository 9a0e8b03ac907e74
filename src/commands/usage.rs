//! RL.RECORD, RL.STATS and RL.USAGE: record and show the usage of keys, by hour and by day.

use crate::commands::arguments::{self, KEY, number};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::{Options, flags};
use crate::commands::quota;
use crate::core::limits::MAX_COUNT;
use crate::core::stats::alerts::EndedCalls;
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::core::usage::{DAYS, Durations, HOURS, SeriesPeriod, Spend, UsageSeries, UsageTally, WorkOutcome};
use crate::limiter::Error;
use crate::limiter::apply::{self, commit};
use crate::limiter::resolve::{KeyView, ResolvedLimits};
use crate::limiter::track;
use crate::observe::{alerts, metrics};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::{self, OwnedString};
use crate::server::ffi::reply::{self, Pairs, Reply};
use crate::server::load::argument::Argument;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;

/// The words for the result of the work, and whether it stands for a success.
const OUTCOMES: [(&str, bool); 2] = [("OK", true), ("FAIL", false)];
/// `key OK|FAIL [CACHED] [SPEND decimal] [DUR d] [COUNT n]` of RL.RECORD.
pub const RECORD: &[Argument] = &[
    KEY,
    Argument::one_of("outcome", const { &flags(&OUTCOMES) }),
    Argument::flag("CACHED").optional(),
    Argument::text("decimal").after("SPEND").optional(),
    Argument::text("duration").after("DUR").optional(),
    Argument::integer("n").after("COUNT").optional(),
];
/// `key [HOURS n] [DAYS n]` of RL.STATS.
pub const STATS: &[Argument] =
    &[KEY, Argument::integer("n").after("HOURS").optional(), Argument::integer("n").after("DAYS").optional()];

/// `RL.RECORD key OK|FAIL [CACHED] [SPEND decimal] [DUR d] [COUNT n]` counts outcomes of work
/// towards the key's usage, and tracks the key from then on.
///
/// # Errors
/// Malformed arguments, a key of another type, or too many tracked keys.
pub fn record(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let ok = cursor.choice(&OUTCOMES)?;
    let mut outcome = WorkOutcome { ok, cached: false, count: 1, spend: Spend::default(), duration_ms: None };
    while let Some((option, value)) = cursor.option(const { &Options::of(RECORD) })? {
        match option {
            "CACHED" => outcome.cached = true,
            "SPEND" => outcome.spend = Spend::parse(value.bytes())?,
            "DUR" => outcome.duration_ms = Some(duration::parse(value.bytes())? / duration::MILLISECOND),
            "COUNT" => outcome.count = number(option, value, 1, MAX_COUNT)?,
            _ => return Err(hints::not_taken(option)),
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
    alerts::ended(ctx.main(), name.bytes(), now, EndedCalls { count, failed, duration_us });
    reply::ok(ctx);
    Ok(())
}

/// `RL.STATS key [HOURS n] [DAYS n]` replies a map, or nil if the key is not tracked.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn stats(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let (mut hours, mut days) = (HOURS, DAYS);
    while let Some((option, value)) = cursor.option(const { &Options::of(STATS) })? {
        match option {
            "HOURS" => hours = number(option, value, 0, HOURS)?,
            "DAYS" => days = number(option, value, 0, DAYS)?,
            _ => return Err(hints::not_taken(option)),
        }
    }
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    let Some(kept) = held.as_deref().and_then(|value| live(value, now)) else {
        reply::null(ctx);
        return Ok(());
    };
    let found = KeyView::of(ctx, name, held.as_deref(), now);
    let limits = match quota::choose(found) {
        Ok(Some((ResolvedLimits::Other(limits), _))) => Some(limits),
        _ => held.as_deref().and_then(RateLimit::limits),
    };
    let limits = limits.map(|limits| {
        let set = limits.get(ctx.main());
        set.limits().iter().map(crate::core::limits::Limit::canonical).collect::<Vec<_>>().join(",")
    });
    let view = kept.at(now);
    let total = TallyReply { tally: *view.total(), durations: Some(view.durations()) };
    reply::map(
        ctx,
        &[
            ("limits", &limits),
            ("since_ms", &view.since().millis()),
            ("last_ms", &view.last().millis()),
            ("total", &total),
            ("today", &TallyReply::today(&view, now)),
            ("hours", &series(&view, SeriesPeriod::Hour, hours, now)),
            ("days", &series(&view, SeriesPeriod::Day, days, now)),
        ],
    );
    Ok(())
}

/// Sends the newest `n` periods of a series that have events, the oldest first.
fn series(
    usage: &UsageSeries,
    period: SeriesPeriod,
    n: u64,
    now: Micros,
) -> Pairs<String, TallyReply<'static>> {
    let named = |(number, tally): (u64, &UsageTally)| {
        (period.name(number), TallyReply { tally: *tally, durations: None })
    };
    usage.newest(period, n, now).map(named).collect()
}

/// A tally as replies show it. It has percentiles if durations are kept.
struct TallyReply<'t> {
    tally: UsageTally,
    durations: Option<&'t Durations>,
}

impl<'t> TallyReply<'t> {
    fn today(usage: &'t UsageSeries, now: Micros) -> Self {
        let tally = usage.get(SeriesPeriod::Day, SeriesPeriod::Day.of(now));
        Self { tally, durations: Some(usage.durations_today()) }
    }
}

impl Reply for TallyReply<'_> {
    fn send(&self, ctx: &Context<'_>) {
        let TallyReply { tally, durations } = self;
        let figures: [(&str, &dyn Reply); 11] = [
            ("requests", &tally.requests),
            ("granted", &tally.granted),
            ("denied", &tally.denied),
            ("denied_requests", &tally.denied_requests),
            ("used", &tally.used),
            ("ok", &tally.ok),
            ("fail", &tally.fail),
            ("cached", &tally.cached),
            ("error_rate", &shortest(tally.error_rate())),
            ("cache_hit_rate", &shortest(tally.hit_rate())),
            ("spend", &tally.spend.to_string()),
        ];
        let percentile = |percent| durations.and_then(|durations| durations.percentile(percent));
        let percentiles: [(&str, &dyn Reply); 3] =
            [("p50_ms", &percentile(50)), ("p95_ms", &percentile(95)), ("p99_ms", &percentile(99))];
        let percentiles = if durations.is_some() { &percentiles[..] } else { &[] };
        reply::map(ctx, &[&figures, percentiles].concat());
    }
}

/// Writes a rate with at most six decimals, and no more than needed.
fn shortest(rate: f64) -> String {
    let text = format!("{rate:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `RL.USAGE cursor [MATCH glob] [COUNT n]` replies the next cursor, and a map of the tracked keys
/// that were found, with today's figures. Keys that the user may not read are passed over.
///
/// # Errors
/// Malformed arguments, or an error of SCAN.
pub fn scan(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let now = ctx.now();
    let found = arguments::scan(ctx, args)?;
    let mut rows: Vec<(&[u8], UsageSeries)> = Vec::new();
    for name in &found.keys {
        let string = OwnedString::new(ctx, name);
        if !call::user_may_read(ctx, string.arg()) {
            continue;
        }
        let key = ctx.look(string.arg());
        if let Ok(Some(value)) = key.value::<RateLimit>()
            && let Some(usage) = live(&value, now)
        {
            rows.push((name, usage.at(now)));
        }
    }
    let rows: Pairs<_, _> = rows.iter().map(|(name, usage)| (*name, TallyReply::today(usage, now))).collect();
    reply::array(ctx, &[&found.cursor, &rows]);
    Ok(())
}

/// The usage of a key, unless it has ended.
fn live(value: &RateLimit, now: Micros) -> Option<&UsageSeries> {
    value.usage().filter(|usage| usage.ends() > now)
}
