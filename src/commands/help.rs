//! RL.HELP and CB.HELP: the table of commands for people.

use crate::commands::arguments::ArgCursor;
use crate::core::text::token::shown;
use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::server::load::command::{self, Command, Rights};

/// `RL.HELP [command]`: a line of syntax and a line of summary for each command
/// for limits, or for the one that is named.
///
/// # Errors
/// More than one name, or the name of no command.
pub fn rl(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| !name.starts_with("CB."))
}

/// `CB.HELP [command]`: the same for circuit breakers.
///
/// # Errors
/// As [`rl`].
pub fn cb(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| name.starts_with("CB."))
}

fn help(ctx: &Context<'_>, args: Args<'_>, family: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let asked = walk.take();
    walk.end()?;
    let all = command::registered().iter().filter(|row| row.rights != Rights::Internal);
    let rows: Vec<&Command> = match asked {
        None => all.filter(|row| family(row.name)).collect(),
        Some(asked) => {
            // `RL.ACQUIRE`, or `ACQUIRE` where one family has it.
            let short = |row: &&Command| row.name.split_once('.').is_some_and(|(_, name)| asked.is(name));
            let named: Vec<&Command> = all.filter(|row| asked.is(row.name) || short(row)).collect();
            let own: Vec<&Command> = named.iter().copied().filter(|row| family(row.name)).collect();
            if own.is_empty() { named } else { own }
        }
    };
    if let (Some(asked), true) = (asked, rows.is_empty()) {
        let name = shown(asked.bytes());
        return Err(Error::Other(format!("unknown command '{name}', RL.HELP and CB.HELP list all")));
    }
    reply::array(ctx, rows.len() * 2);
    for row in rows {
        reply::text(ctx, &row.syntax());
        reply::text(ctx, &format!("    {}", row.summary));
    }
    Ok(())
}
