//! RL.QUEUE: shows who waits on a key.

use crate::commands::cursor::ArgCursor;
use crate::limiter::Error;
use crate::queue::status;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::ratelimit::RateLimit;

/// `RL.QUEUE key` replies the number of waiters, the time in milliseconds that the head has waited,
/// and the units that it asks for.
///
/// # Errors
/// A key of another type.
pub fn queue(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    ctx.read(name).value::<RateLimit>()?;
    let queue = status::queue_status(ctx, name);
    reply::array(ctx, &[&queue.length, &queue.oldest_ms, &queue.head_cost]);
    Ok(())
}
