//! RL.DEBUG: a clock for tests.

use super::arguments::number;
use super::hints;
use crate::commands::cursor::ArgCursor;
use crate::commands::options::Options;
use crate::core::text::duration::whole_number;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::queue;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::settings;

/// `RL.DEBUG CLOCK SET us | ADVANCE us | REAL` sets the clock; a negative ADVANCE steps back.
/// `RL.DEBUG PANIC` causes an internal error, to show that the server survives it.
///
/// # Errors
/// The setting `enable-debug-command` is off, or the arguments are malformed.
pub fn debug(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !settings::enable_debug_command(ctx.main()) {
        return Err(Error::Other(
            "RL.DEBUG is off; load the module with enable-debug-command yes".to_owned(),
        ));
    }
    let mut cursor = ArgCursor::new(args);
    let what = cursor.required()?;
    if what.is("PANIC") {
        cursor.end()?;
        panic_for_a_test();
    }
    if !what.is("CLOCK") {
        return Err(hints::unexpected(what, &Options::of(&[])));
    }
    let how = cursor.required()?;
    let clock = if how.is("REAL") {
        None
    } else if how.is("SET") {
        Some(Micros(number("us", cursor.required()?, 0, Micros::MAX.0)?))
    } else if how.is("ADVANCE") {
        let step = cursor.required()?;
        Some(match step.bytes().strip_prefix(b"-") {
            Some(back) => {
                let expected = "a whole number of microseconds".to_owned();
                let us = whole_number(back).ok_or(Error::Range { name: "us", expected })?;
                Micros(ctx.now().0.saturating_sub(us))
            }
            None => ctx.now().plus(number("us", step, 0, Micros::MAX.0)?),
        })
    } else {
        return Err(hints::unexpected(how, &Options::of(&[])));
    };
    cursor.end()?;
    ctx.set_debug_clock(clock);
    queue::clock_changed(ctx);
    reply::ok(ctx);
    Ok(())
}

/// Panics, to show what an error in the module itself does: the client gets an error, the log gets
/// a line, and the server goes on.
#[allow(clippy::panic)] // on purpose, and the boundary catches it
fn panic_for_a_test() {
    panic!("RL.DEBUG PANIC was called");
}
