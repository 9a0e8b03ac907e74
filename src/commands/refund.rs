//! RL.REFUND: gives units back.

use super::arguments::number;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::MAX_COUNT;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::commit;
use crate::limiter::resolve::{ResolvedLimits, limits_of, resolve};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;

/// `RL.REFUND key n [limits]`
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn refund(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let units = number("n", walk.required()?, 1, MAX_COUNT)?;
    let given = walk.take();
    walk.no_more()?;
    let (main, now) = (ctx.main(), ctx.now());
    let mut key = ctx.write(name);
    let held = key.value::<RateLimit>()?;
    let own = held.as_deref().and_then(RateLimit::limits_id);
    let named = match given {
        Some(text) => match limits_of(main, own, text.bytes())? {
            Some(named) => Some(named),
            // `*`: those that the server has for it.
            None => Some(resolve(main, name.bytes(), held.as_deref(), Some(text.bytes()), now)?.0),
        },
        None => None,
    };
    let named = named.and_then(|named| match named {
        ResolvedLimits::Own => None,
        ResolvedLimits::Other(limits) => Some(limits),
    });
    // What is given back is counted on a copy; the effect does it for good.
    let back = held.as_deref().map_or(0, |value| {
        let limits = named.clone().or_else(|| value.limits());
        limits.map_or(0, |limits| value.refundable(main, limits.get(main).limits(), now, units))
    });
    if back > 0 {
        let text = named.as_ref().map(|limits| limits.text(main));
        let change = RateLimitChange::GiveBack { limits: text.as_deref(), units, calls: 1 };
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.refund")?;
        metrics::count(main, |m| &mut m.refunds);
        metrics::add(main, |m| &mut m.refunded_units, back);
    }
    reply::integer(ctx, crate::limiter::reply::signed(back));
    Ok(())
}
