//! RL.QUEUE: who waits on a key.

use crate::commands::arguments::ArgCursor;
use crate::limiter::Error;
use crate::limiter::reply::signed;
use crate::queue::status;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::ratelimit::RateLimit;

/// `RL.QUEUE key`: how many wait, since when the first in milliseconds, and
/// what it wants.
///
/// # Errors
/// A key of another type.
pub fn queue(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    walk.end()?;
    ctx.read(name).value::<RateLimit>()?;
    let line = status::of(ctx, name);
    reply::array(ctx, 3);
    for number in [line.length, line.oldest_ms, line.head_cost] {
        reply::integer(ctx, signed(number));
    }
    Ok(())
}
