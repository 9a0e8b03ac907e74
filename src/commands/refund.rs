//! RL.REFUND: gives units back.

use super::arguments::number;
use crate::commands::cursor::ArgCursor;
use crate::core::limits::MAX_COUNT;
use crate::limiter::Error;
use crate::limiter::apply::{self, commit};
use crate::limiter::resolve::{KeyView, ResolvedLimits, limits_of};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::Reply as _;
use crate::types::effect::ratelimit::{GiveBack, RateLimitChange};
use crate::types::ratelimit::RateLimit;

/// `RL.REFUND key n [limits]`: gives up to `n` units back on each limit, the newest first. Replies
/// the largest number of units given back on any limit.
///
/// # Errors
/// Malformed arguments or a key of another type.
pub fn refund(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    // Whoever gives no number may not know the order.
    let units = number("n", cursor.required()?, 1, MAX_COUNT)
        .map_err(|_| Error::Usage(format!("n must be a whole number from 1 to {MAX_COUNT}")))?;
    let given = cursor.take();
    cursor.no_more()?;
    let (main, now) = (ctx.main(), ctx.now());
    let mut key = ctx.write(name);
    let held = key.value::<RateLimit>()?;
    let own = held.as_deref().and_then(RateLimit::limits_id);
    let named = match given.map(Arg::bytes) {
        Some(text) => match limits_of(main, own, text)? {
            // `*`: the limits that the server has for the key.
            None => Some(KeyView::of(ctx, name, held.as_deref(), now).resolve(Some(text))?.0),
            named => named,
        },
        None => None,
    };
    let named = named.and_then(|named| match named {
        ResolvedLimits::Own(_) => None,
        ResolvedLimits::Other(limits) => Some(limits),
    });
    // A copy tells how much would be given back; the effect then gives it back.
    let back = held.as_deref().map_or(0, |value| {
        let limits = named.clone().or_else(|| value.limits());
        limits.map_or(0, |limits| value.refundable(main, limits.get(main).limits(), now, units))
    });
    let is_counted = held.as_deref().and_then(RateLimit::usage).is_some_and(|usage| usage.total().used > 0);
    if back > 0 || is_counted {
        let text = named.as_ref().map(|limits| limits.text(main));
        let change = RateLimitChange::GiveBack(GiveBack { limits: text.as_deref(), units, calls: 1 });
        commit(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.refund")?;
    }
    if back > 0 {
        metrics::count(main, |m| &mut m.refunds);
        metrics::add(main, |m| &mut m.refunded_units, back);
    }
    back.send(ctx);
    Ok(())
}
