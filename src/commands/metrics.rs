//! RL.METRICS: every counter and gauge as a map.

use crate::core::stats::histogram::Histogram;
use crate::limiter::Error;
use crate::limiter::breaker::open::{self, Open};
use crate::limiter::reply::signed;
use crate::observe::{key_mask, labels, metrics as observed};
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::user_may_see;
use crate::server::ffi::reply;
use crate::server::timing::command_timing;

/// `RL.METRICS`: what INFO floodgate shows, and maps of their own for what
/// carries a label.
///
/// # Errors
/// Arguments.
pub fn metrics(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !args.is_empty() {
        return Err(Error::Arity);
    }
    let main = ctx.main();
    let mut numbers: Vec<(String, u64)> = Vec::new();
    observed::numbers(main, |name, value| numbers.push((name.to_owned(), value)));
    reply::map(ctx, numbers.len() + 3 + LABELLED);
    reply::text(ctx, "version");
    reply::text(ctx, env!("CARGO_PKG_VERSION"));
    reply::text(ctx, "revision");
    reply::text(ctx, env!("FLOODGATE_REVISION"));
    reply::text(ctx, "policies_digest");
    reply::text(ctx, &crate::types::policies::node::digest(main));
    for (name, value) in &numbers {
        reply::text(ctx, name);
        reply::integer(ctx, signed(*value));
    }
    let policies = labels::policies(main);
    counts(ctx, "granted_by_policy", policies.iter().map(|policy| (&*policy.name, policy.granted)));
    counts(ctx, "denied_by_policy", policies.iter().map(|policy| (&*policy.name, policy.denied)));
    let shadows = labels::shadows(main);
    counts(ctx, "shadow_denied_by_limit", shadows.iter().map(|(label, denied)| (&**label, *denied)));
    open_breakers(ctx);
    let timed = command_timing::commands(main);
    let of = |one: &command_timing::Timed| one.microseconds.sum();
    counts(ctx, "command_latency_us_sum_by_command", timed.iter().map(|one| (&*one.command, of(one))));
    reply::text(ctx, "command_latency_us");
    latency(ctx, &command_timing::histogram(main));
    reply::text(ctx, "command_latency_us_by_command");
    reply::map(ctx, timed.len());
    for one in &timed {
        reply::text(ctx, &one.command);
        latency(ctx, &one.microseconds);
    }
    Ok(())
}

/// How many maps there are, each with its name.
const LABELLED: usize = 7;
/// The most breakers that are named.
const MOST_BREAKERS: usize = 100;

fn counts<'l>(ctx: &Context<'_>, title: &str, rows: impl ExactSizeIterator<Item = (&'l str, u64)>) {
    reply::text(ctx, title);
    reply::map(ctx, rows.len());
    for (label, count) in rows {
        reply::text(ctx, label);
        reply::integer(ctx, signed(count));
    }
}

/// Since when breakers are open, half-open or forced open, those that the user
/// may read.
fn open_breakers(ctx: &Context<'_>) {
    let all = open::list(ctx);
    let seen = all.into_iter().filter(|open| user_may_see(ctx, &open.name)).take(MOST_BREAKERS);
    let seen: Vec<Open> = seen.collect();
    reply::text(ctx, "breakers_open_since_ms");
    reply::map(ctx, seen.len());
    for open in &seen {
        reply::bytes(ctx, &key_mask::shown(ctx.main(), &open.name));
        reply::integer(ctx, signed(open.since.0 / 1000));
    }
}

/// How many of the timed commands took at most so many microseconds.
fn latency(ctx: &Context<'_>, timed: &Histogram) {
    let buckets: Vec<_> = timed.cumulative().collect();
    reply::map(ctx, buckets.len());
    for (bound, count) in buckets {
        reply::text(ctx, &bound.map_or_else(|| "inf".to_owned(), |bound| bound.to_string()));
        reply::integer(ctx, signed(count));
    }
}
