//! RL.CHARGE: units that were used anyway.

use super::acquire::limits_first;
use super::arguments::cost;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::Request;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::status_only;
use crate::limiter::apply;
use crate::limiter::apply::commit;
use crate::limiter::charge::decide;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::track;
use crate::observe::metrics;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::keys::key::ReadKey;
use crate::types::ratelimit::RateLimit;

const KEYWORDS: [&str; 2] = ["COST", "TRACK"];

/// `RL.CHARGE key [limits] COST n [TRACK]`
///
/// # Errors
/// Malformed arguments, no limits, or a key of another type.
pub fn charge(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let given = walk.take_unless(|next| KEYWORDS.iter().any(|keyword| next.is(keyword))).map(Arg::bytes);
    let (mut units, mut track) = (None, false);
    while let Some(option) = walk.option(&KEYWORDS).map_err(|error| limits_first(given, error))? {
        match option {
            "COST" => units = Some(cost(walk.value_of(option)?)?),
            _ => track = true,
        }
    }
    let Some(units) = units else {
        return Err(Error::Usage("syntax error: a charge needs COST, such as COST 5".to_owned()));
    };
    let (main, now) = (ctx.main(), ctx.now());
    let mut key = ctx.write(name);
    let held = key.value::<RateLimit>()?;
    let decision = decide(main, name.bytes(), held.as_deref(), given, units, now)?;
    let used = track::counts(main, held.as_deref(), track).then_some(units);
    decision.change(main, used, |change| {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.charge").map(drop)
    })?;
    metrics::count(main, |m| &mut m.charges);
    metrics::add(main, |m| &mut m.charged_units, units);
    reply(ctx, &key, given, units, now)?.send(ctx);
    Ok(())
}

/// How the key stands after the charge: as RL.ACQUIRE of one unit would find it, which
/// takes and closes nothing.
fn reply(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    given: Option<&[u8]>,
    units: u64,
    now: Micros,
) -> Result<RateLimitReply, Error> {
    let one = Request::of(1);
    let held = key.value::<RateLimit>()?;
    let value = held.as_deref();
    let RateLimitReply { granted, mut status, index } =
        queue::decide(ctx, key.name(), value, given, &one, now)?.reply;
    if granted > 0 {
        status = status_only(ctx, key.name().bytes(), value, given, &one, now)?;
    }
    Ok(RateLimitReply { granted: units, status, index })
}
