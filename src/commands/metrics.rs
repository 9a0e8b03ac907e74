//! RL.METRICS: every counter and gauge as a map.

use super::Error;
use super::six::signed;
use crate::observe::{labels, metrics as observed};
use crate::server::args::Args;
use crate::server::context::Context;
use crate::server::{reply, stopwatch};

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
    reply::map(ctx, numbers.len() + 7);
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
    reply::text(ctx, "command_latency_us");
    latency(ctx);
    let policies = labels::policies(main);
    for (title, counter) in [
        ("granted_by_policy", (|policy| policy.granted) as fn(&labels::Policy) -> u64),
        ("denied_by_policy", |policy| policy.denied),
    ] {
        reply::text(ctx, title);
        reply::map(ctx, policies.len());
        for policy in &policies {
            reply::text(ctx, &policy.name);
            reply::integer(ctx, signed(counter(policy)));
        }
    }
    reply::text(ctx, "shadow_denied_by_limit");
    let shadows = labels::shadows(main);
    reply::map(ctx, shadows.len());
    for (label, denied) in &shadows {
        reply::text(ctx, label);
        reply::integer(ctx, signed(*denied));
    }
    Ok(())
}

/// How many of the timed commands took at most so many microseconds.
fn latency(ctx: &Context<'_>) {
    let timed = stopwatch::histogram(ctx.main());
    let buckets: Vec<_> = timed.cumulative().collect();
    reply::map(ctx, buckets.len());
    for (bound, count) in buckets {
        reply::text(ctx, &bound.map_or_else(|| "inf".to_owned(), |bound| bound.to_string()));
        reply::integer(ctx, signed(count));
    }
}
