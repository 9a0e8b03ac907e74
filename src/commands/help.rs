//! RL.HELP and CB.HELP: show the table of commands to people.

use crate::commands::cursor::ArgCursor;
use crate::core::text::token::shown;
use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply::{List, Reply};
use crate::server::load::command::{self, Access, Command};

/// `RL.HELP [command]`: a line of syntax and a line of summary for each command on limits, or for
/// the named command.
///
/// # Errors
/// There is more than one name, or no command of this name.
pub fn rl(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| !name.starts_with("CB."))
}

/// `CB.HELP [command]`: the same for commands on circuit breakers.
///
/// # Errors
/// The same as [`rl`].
pub fn cb(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    help(ctx, args, |name| name.starts_with("CB."))
}

fn help(ctx: &Context<'_>, args: Args<'_>, family: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let asked = cursor.take();
    cursor.end()?;
    let all = command::registered().iter().filter(|row| row.rights != Access::Internal);
    let rows: Vec<&Command> = match asked {
        None => all.filter(|row| family(row.name)).collect(),
        Some(asked) => {
            // The name is `RL.ACQUIRE`, or `ACQUIRE` for a command of either family.
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
    let lines: Vec<String> =
        rows.iter().flat_map(|row| [row.syntax(), format!("    {}", row.summary)]).collect();
    List(&lines).send(ctx);
    Ok(())
}
