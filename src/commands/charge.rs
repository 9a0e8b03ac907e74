//! RL.CHARGE: counts units that were used, whether they fit or not.

use super::acquire::limits_first;
use crate::commands::arguments::{KEY, LIMITS, TRACK, cost};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::Request;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{self, commit};
use crate::limiter::charge::decide;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::KeyView;
use crate::limiter::track;
use crate::observe::metrics;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::Reply;
use crate::server::keys::key::ReadKey;
use crate::server::load::argument::Argument;
use crate::types::ratelimit::RateLimit;

/// `key [limits] COST n [TRACK]`
pub const ARGUMENTS: &[Argument] = &[KEY, LIMITS.optional(), Argument::integer("n").after("COST"), TRACK];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// `RL.CHARGE key [limits] COST n [TRACK]` counts units as used, beyond the capacity as debt. It
/// replies the six integers of RL.ACQUIRE.
///
/// # Errors
/// Malformed arguments, no limits, or a key of another type.
pub fn charge(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let given = cursor.before(&OPTIONS).map(Arg::bytes);
    let (mut units, mut track) = (None, false);
    while let Some((option, value)) = cursor.option(&OPTIONS).map_err(|error| limits_first(given, error))? {
        match option {
            "COST" => units = Some(cost(value)?),
            "TRACK" => track = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    let Some(units) = units else {
        return Err(Error::Usage("syntax error: a charge needs COST, such as COST 5".to_owned()));
    };
    let (main, now) = (ctx.main(), ctx.now());
    let mut key = ctx.write(name);
    let held = key.value::<RateLimit>()?;
    let found = KeyView::of(ctx, name, held.as_deref(), now);
    let decision = decide(found, given, units)?;
    let used = track::counts(main, held.as_deref(), track).then_some(units);
    decision.change(main, used, |change| {
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.charge").map(drop)
    })?;
    metrics::count(main, |m| &mut m.charges);
    metrics::add(main, |m| &mut m.charged_units, units);
    reply(ctx, &key, given, units, now)?.send(ctx);
    Ok(())
}

/// The status of the key after the charge, as an RL.ACQUIRE of one unit would find it. Takes and
/// closes nothing.
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
    let decision = queue::decide(ctx, key.name(), value, given, &one, now)?;
    let status = decision.status_before(KeyView::of(ctx, key.name(), value, now), given, &one)?;
    Ok(RateLimitReply { granted: units, status, index: decision.reply.index })
}
