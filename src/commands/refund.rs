//! RL.REFUND: gives units back.

use super::arguments::number;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::{MAX_COUNT, give_back};
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::commit;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern;
use crate::types::ratelimit::RateLimit;

/// `RL.REFUND key n`
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn refund(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let units = number("n", walk.required()?, 1, MAX_COUNT)?;
    walk.no_more()?;
    let (main, now) = (ctx.main(), ctx.now());
    let mut key = ctx.write(name);
    let held = key.value::<RateLimit>()?;
    // What is given back is counted on a copy; the effect does it for good.
    let given = held.as_deref().and_then(|value| {
        let set = intern::get(main, value.limits_id()?);
        let mut states = value.with_states(<[_]>::to_vec);
        Some(give_back(set.limits(), &mut states, now, units))
    });
    let given = given.unwrap_or(0);
    if given > 0 {
        commit(ctx, &mut key, &apply::effect(ctx, now, RateLimitChange::GiveBack { units }), c"rl.refund")?;
        metrics::count(main, |m| &mut m.refunds);
        metrics::add(main, |m| &mut m.refunded_units, given);
    }
    reply::integer(ctx, crate::limiter::reply::signed(given));
    Ok(())
}
