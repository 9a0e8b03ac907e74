//! RL.METRICS: every counter and gauge as a map.

use crate::core::limits::calendar;
use crate::core::stats::histogram::Histogram;
use crate::limiter::Error;
use crate::limiter::breaker::open;
use crate::observe::{key_mask, labels, metrics as observed};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::user_may_see;
use crate::server::ffi::reply::{self, Pairs, Reply};
use crate::server::timing::command_timing;
use crate::types::policies::node;

/// `RL.METRICS` replies what INFO shows of this module, and a map of its own for each metric with a
/// label.
///
/// # Errors
/// The command takes no arguments.
pub fn metrics(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !args.is_empty() {
        return Err(Error::Arity);
    }
    let main = ctx.main();
    let mut numbers: Vec<(String, u64)> = Vec::new();
    observed::numbers(main, |name, value| numbers.push((name.to_owned(), value)));
    let policies = labels::policies(main);
    let granted: Pairs<_, _> = policies.iter().map(|policy| (&*policy.name, policy.granted)).collect();
    let denied: Pairs<_, _> = policies.iter().map(|policy| (&*policy.name, policy.denied)).collect();
    let timed = command_timing::commands(main);
    let sums: Pairs<_, _> = timed.iter().map(|one| (&*one.command, one.microseconds.sum())).collect();
    let timings: Pairs<_, _> = timed.iter().map(|one| (&*one.command, latency(&one.microseconds))).collect();
    let revision: [(&str, &dyn Reply); 4] = [
        ("version", &env!("CARGO_PKG_VERSION")),
        ("revision", &env!("FLOODGATE_REVISION")),
        ("tzdb", &calendar::tz_release()),
        ("policies_digest", &node::digest(main)),
    ];
    let counted: Vec<(&str, &dyn Reply)> =
        numbers.iter().map(|(name, value)| (name.as_str(), value as &dyn Reply)).collect();
    let labelled: [(&str, &dyn Reply); 7] = [
        ("granted_by_policy", &granted),
        ("denied_by_policy", &denied),
        ("shadow_denied_by_limit", &Pairs(labels::shadows(main))),
        ("breakers_open_since_ms", &open_breakers(ctx)),
        ("command_latency_us_sum_by_command", &sums),
        ("command_latency_us", &latency(&command_timing::histogram(main))),
        ("command_latency_us_by_command", &timings),
    ];
    reply::map(ctx, &[&revision[..], &counted, &labelled].concat());
    Ok(())
}

/// The most breakers that are named.
const MOST_BREAKERS: usize = 100;

/// Sends since when breakers are open, half-open or forced open, for those that the user may read.
fn open_breakers(ctx: &Context<'_>) -> Pairs<Vec<u8>, u64> {
    let all = open::list(ctx).into_iter();
    let seen = all.filter(|(name, _)| user_may_see(ctx, name)).take(MOST_BREAKERS);
    seen.map(|(name, open)| (key_mask::shown(ctx.main(), &name).into_owned(), open.since.millis())).collect()
}

/// Sends, for each bound in microseconds, how many of the timed commands took at most that long.
fn latency(timed: &Histogram) -> Pairs<String, u64> {
    let name = |bound: Option<u64>| bound.map_or_else(|| "inf".to_owned(), |bound| bound.to_string());
    timed.cumulative().map(|(bound, count)| (name(bound), count)).collect()
}
