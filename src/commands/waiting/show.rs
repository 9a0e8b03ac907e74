//! RL.QUEUE, and what INFO and alerts tell of lines.

use super::{any, place, with};
use crate::commands::Error;
use crate::commands::arguments::Walk;
use crate::commands::six::signed;
use crate::server::args::Args;
use crate::server::context::{self, Context};
use crate::server::main_thread::MainThread;
use crate::server::reply;
use crate::settings;
use crate::types::ratelimit::RateLimit;
use std::sync::Arc;

/// `RL.QUEUE key`: how many wait, since when the first in milliseconds, and
/// what it wants.
///
/// # Errors
/// A key of another type.
pub fn queue(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let name = walk.required()?;
    walk.end()?;
    ctx.read(name).value::<RateLimit>()?;
    let now = ctx.now();
    let place = place(ctx, name);
    let (length, oldest, cost) = with(ctx.main(), |room| {
        let head = room.lines.head(&place);
        let (oldest, cost) =
            head.map_or((0, 0), |(_, waiter)| (now.since(waiter.since) / 1000, waiter.ask.cost()));
        (room.lines.length(&place) as u64, oldest, cost)
    });
    reply::array(ctx, 3);
    for number in [length, oldest, cost] {
        reply::integer(ctx, signed(number));
    }
    Ok(())
}

/// How many wait on this server, and for how many milliseconds the first has.
pub fn gauges(main: MainThread) -> (u64, u64) {
    let now = context::now(main);
    with(main, |room| {
        let oldest = room.lines.heads().map(|waiter| now.since(waiter.since) / 1000).max();
        (room.lines.waiting() as u64, oldest.unwrap_or(0))
    })
}

/// How full the longest line is, or all lines together, whichever is more:
/// percent, and the key of the longest.
pub fn fullness(main: MainThread) -> (u64, Option<Arc<[u8]>>) {
    if !any() {
        return (0, None);
    }
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    with(main, |room| {
        let percent = |n: usize, of: usize| (n as u64).saturating_mul(100) / (of as u64).max(1);
        let all = percent(room.lines.waiting(), waiters_max);
        room.lines.longest().map_or((all, None), |((_, key), length)| {
            (all.max(percent(length, queue_max)), Some(Arc::clone(key)))
        })
    })
}
