//! The arguments that many commands share: their parsers and their rows in the argument table.

use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::MAX_COUNT;
use crate::core::text::duration;
use crate::core::text::token::TokenError;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::call::{self, Scanned};
use crate::server::load::argument::Argument;
use crate::types::until::Until;

/// Parses a whole number within bounds.
///
/// # Errors
/// [`Error::Range`] with the bounds.
pub fn number(name: &'static str, arg: Arg<'_>, min: u64, max: u64) -> Result<u64, Error> {
    duration::whole_number(arg.bytes())
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| Error::Range { name, expected: format!("a whole number from {min} to {max}") })
}

/// Parses the units that a call asks for: 1 to 10^12.
///
/// # Errors
/// [`Error::Range`].
#[inline]
pub fn cost(arg: Arg<'_>) -> Result<u64, Error> {
    number("COST", arg, 1, MAX_COUNT).map_err(|error| match arg.bytes() {
        b"0" => Error::Range {
            name: "COST",
            expected: format!("a whole number from 1 to {MAX_COUNT}; RL.QUOTA looks without taking"),
        },
        _ => error,
    })
}

/// Parses a length of time of at least a millisecond. Returns microseconds.
///
/// # Errors
/// Names the malformed duration and says why it is refused.
pub fn length(arg: Arg<'_>) -> Result<u64, Error> {
    match duration::parse(arg.bytes())? {
        0 => Err(TokenError::new("duration", arg.bytes(), "must be at least 1ms").into()),
        us => Ok(us),
    }
}

/// Takes an operator's reason of at most `most` bytes.
///
/// # Errors
/// [`Error::Range`] for a longer one.
pub fn reason_of(arg: Arg<'_>, most: usize) -> Result<&[u8], Error> {
    let text = arg.bytes();
    if text.len() > most {
        return Err(Error::Range { name: "REASON", expected: format!("at most {most} bytes") });
    }
    Ok(text)
}

/// The options of commands that take `FOR d` and no other.
pub const ONLY_FOR: Options = Options::of(&[FOR]);

/// Parses `FOR d` at the end of a command, if it is there. Returns the moment that is `d` after
/// `now`, or [`Until::Forever`].
///
/// # Errors
/// The same as [`length`].
pub fn optional_for(cursor: &mut ArgCursor<'_>, now: Micros) -> Result<Until, Error> {
    let mut until = Until::Forever;
    while let Some((option, value)) = cursor.option(&ONLY_FOR)? {
        match option {
            "FOR" => until = Until::At(now.plus(length(value)?).min(Micros::MAX)),
            _ => return Err(hints::not_taken(option)),
        }
    }
    Ok(until)
}

/// Parses `cursor [MATCH glob] [COUNT n]`, and runs this step of SCAN.
///
/// # Errors
/// The cursor or the count is malformed, or an error of SCAN.
pub fn scan(ctx: &Context<'_>, args: Args<'_>) -> Result<Scanned, Error> {
    let mut args = ArgCursor::new(args);
    let cursor = args.required()?.bytes();
    if duration::whole_number(cursor).is_none() {
        return Err(Error::Usage(
            "invalid cursor: begin with 0, and go on with the cursor of the last reply".to_owned(),
        ));
    }
    let (mut pattern, mut count) = (None, 10);
    while let Some((option, value)) = args.option(const { &Options::of(SCAN) })? {
        match option {
            "MATCH" => pattern = Some(value.bytes()),
            "COUNT" => count = number(option, value, 1, 1_000_000)?,
            _ => return Err(hints::not_taken(option)),
        }
    }
    call::scan(ctx, cursor, pattern, count).map_err(Error::Verbatim)
}

// Rows of the argument table that several commands share.

/// The key of most commands.
pub const KEY: Argument = Argument::key("key");
/// The text of a limit, or of several with `,` between them.
pub const LIMITS: Argument = Argument::text("limits");
/// The text of a breaker.
pub const BREAKER: Argument = Argument::text("breaker");
/// The name of a reservation, or of a reporter.
pub const ID: Argument = Argument::text("id");
/// The number of keys that follow.
pub const NUMKEYS: Argument = Argument::integer("numkeys");
/// The units that a request asks for.
pub const COST: Argument = Argument::integer("n").after("COST").optional();
/// Marks a request that may use the kept part of a capacity (`keep=`).
pub const CRITICAL: Argument = Argument::flag("CRITICAL").optional();
/// Counts the usage of the key by hour and by day.
pub const TRACK: Argument = Argument::flag("TRACK").optional();
/// The time for which a reservation is made.
pub const TTL: Argument = Argument::text("duration").after("TTL");
/// The time for which an operator's block, pin or force lasts.
pub const FOR: Argument = Argument::text("duration").after("FOR");
/// The operator's reason.
pub const REASON: Argument = Argument::text("text").after("REASON").optional();
/// The option for a request whose whole cost does not fit: the request takes less, or waits.
pub const SHORTAGE: Argument =
    Argument::one_of("shortage", &[Argument::flag("PARTIAL"), Argument::text("duration").after("WAIT")])
        .optional();
/// The arguments of commands that walk the keyspace as SCAN does.
pub const SCAN: &[Argument] = &[
    Argument::integer("cursor"),
    Argument::pattern("glob").after("MATCH").optional(),
    Argument::integer("n").after("COUNT").optional(),
];
