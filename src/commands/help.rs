//! RL.HELP and CB.HELP: the table of commands for people.

use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::server::load::command::{self, Command, Rights};

/// `RL.HELP`: a line of syntax and a line of summary for each command.
///
/// # Errors
/// None.
pub fn rl(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| name.starts_with("RL.") || name.starts_with("CL."))
}

/// `CB.HELP`: the same for circuit breakers.
///
/// # Errors
/// None.
pub fn cb(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| name.starts_with("CB."))
}

fn help(ctx: &Context<'_>, args: Args<'_>, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    if !args.is_empty() {
        return Err(Error::Arity);
    }
    let rows: Vec<&Command> = command::registered()
        .iter()
        .filter(|row| row.rights != Rights::Internal && wanted(row.name))
        .collect();
    reply::array(ctx, rows.len() * 2);
    for row in rows {
        reply::text(ctx, &row.syntax());
        reply::text(ctx, &format!("    {}", row.summary));
    }
    Ok(())
}
