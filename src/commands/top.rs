//! RL.TOP: the busiest keys.

use super::Error;
use super::arguments::{Walk, number, unexpected};
use super::six::signed;
use crate::observe::names;
use crate::observe::top::{self as observed, Outcome};
use crate::server::args::Args;
use crate::server::call::{OwnedString, user_may_read};
use crate::server::context::Context;
use crate::server::reply;

const DEFAULT: u64 = 10;
const MOST: u64 = 2048;

/// `RL.TOP DENIED|GRANTED [n]`: `[key, count, error]` of each, the busiest
/// first. The true count is at most `error` less. Keys that the user may not
/// read are left out.
///
/// # Errors
/// Malformed arguments.
pub fn top(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = Walk::new(args);
    let which = walk.required()?;
    let outcome = if which.is("DENIED") {
        Outcome::Denied
    } else if which.is("GRANTED") {
        Outcome::Granted
    } else {
        return Err(unexpected(which));
    };
    let n = walk.take().map_or(Ok(DEFAULT), |arg| number("n", arg, 1, MOST))?;
    walk.end()?;
    let main = ctx.main();
    let seen: Vec<_> = observed::list(main, outcome)
        .into_iter()
        .filter(|busy| user_may_read(ctx, OwnedString::new(ctx, &busy.name).arg()))
        .take(usize::try_from(n).unwrap_or(usize::MAX))
        .collect();
    reply::array(ctx, seen.len());
    for busy in &seen {
        reply::array(ctx, 3);
        reply::bytes(ctx, &names::shown(main, &busy.name));
        reply::integer(ctx, signed(busy.count));
        reply::integer(ctx, signed(busy.error));
    }
    Ok(())
}
