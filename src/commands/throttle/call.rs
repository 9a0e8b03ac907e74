//! The arguments of CL.THROTTLE, RL.THROTTLE and GCRA.

use crate::commands::arguments::{KEY, number};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::{Request, SecondsRounding, Throttle, ThrottleError, ThrottlePeriod};
use crate::limiter::Error;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::signed;
use crate::server::load::argument::Argument;
use std::ffi::CStr;

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThrottleCall<'a> {
    pub(super) key: Arg<'a>,
    pub(super) rule: Throttle,
    pub(super) quantity: u64,
    pub(super) rounding: SecondsRounding,
    /// The keyspace event of a change, which names the command.
    pub(super) event: &'static CStr,
}

impl ThrottleCall<'_> {
    /// The same call, which only looks.
    pub(super) const fn look(&self) -> Self {
        Self { quantity: 0, ..*self }
    }

    /// The same request, for limits that the server has for the key.
    pub(super) fn request(&self) -> Request {
        Request { calls: u64::from(self.quantity > 0), ..Request::of(self.quantity) }
    }
}

/// Parses `key max_burst count_per_period period [quantity]`.
pub(super) fn parse<'a>(args: Args<'a>, event: &'static CStr) -> Result<ThrottleCall<'a>, Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let max_burst = integer("max_burst", cursor.required()?)?;
    let count = integer("count_per_period", cursor.required()?)?;
    let period = integer("period", cursor.required()?)?;
    let quantity = cursor.take().map_or(Ok(1), |arg| integer("quantity", arg))?;
    cursor.no_more()?;
    let quantity = u64::try_from(quantity)
        .map_err(|_| Error::Range { name: "quantity", expected: "0 or more".to_owned() })?;
    let rule = Throttle::new(max_burst, count, period).map_err(no_rate)?;
    Ok(ThrottleCall { key, rule, quantity, rounding: SecondsRounding::Cell, event })
}

/// `key max_burst count_per_period period [quantity]` of CL.THROTTLE and RL.THROTTLE.
pub const CELL: &[Argument] = &[
    KEY,
    Argument::integer("max_burst"),
    Argument::integer("count_per_period"),
    Argument::integer("period"),
    Argument::integer("quantity").optional(),
];
/// `key max_burst tokens_per_period period [TOKENS n]` of GCRA.
pub const GCRA: &[Argument] = &[
    KEY,
    Argument::integer("max_burst"),
    Argument::integer("tokens_per_period"),
    Argument::double("period"),
    Argument::integer("n").after("TOKENS").optional(),
];

/// Parses `key max_burst tokens_per_period period [TOKENS n]`.
pub(super) fn parse_gcra(args: Args<'_>) -> Result<ThrottleCall<'_>, Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let max_burst = within("max_burst", cursor.required()?, 0)?;
    let count = within("tokens_per_period", cursor.required()?, 1)?;
    let period = ThrottlePeriod::parse(cursor.required()?.bytes()).ok_or_else(|| Error::Range {
        name: "period",
        expected: "a number of seconds from 0.000000001 on, such as 60 or 0.5".to_owned(),
    })?;
    let mut quantity = 1;
    while let Some((option, value)) = cursor.option(const { &Options::of(GCRA) })? {
        match option {
            "TOKENS" => quantity = within(option, value, 1)?,
            _ => return Err(hints::not_taken(option)),
        }
    }
    let rule = Throttle::over(max_burst, count, period).map_err(no_rate)?;
    let quantity = quantity.unsigned_abs();
    Ok(ThrottleCall { key, rule, quantity, rounding: SecondsRounding::Up, event: c"gcra" })
}

fn no_rate(error: ThrottleError) -> Error {
    Error::Other(error.to_string())
}

/// Parses a whole number of at least `least`.
fn within(name: &'static str, arg: Arg<'_>, least: u64) -> Result<i64, Error> {
    let most = i64::MAX.unsigned_abs();
    number(name, arg, least, most).map(signed)
}

fn integer(name: &'static str, arg: Arg<'_>) -> Result<i64, Error> {
    std::str::from_utf8(arg.bytes())
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Range { name, expected: "an integer".to_owned() })
}
