//! Reading the arguments that many commands share.

use crate::commands::way_out;
use crate::core::limits::MAX_COUNT;
use crate::core::text::duration;
use crate::core::text::token::TokenError;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::server::ffi::args::{Arg, Args};
use crate::types::until::Until;

/// Walks the arguments from front to back.
#[derive(Clone, Copy, Debug)]
pub struct ArgCursor<'a> {
    args: Args<'a>,
    at: usize,
    /// The options that were met, one bit each by their place among the keywords.
    met: u32,
}

impl<'a> ArgCursor<'a> {
    /// Starts at the first.
    pub const fn new(args: Args<'a>) -> Self {
        Self { args, at: 0, met: 0 }
    }

    /// The next argument, which must be there.
    ///
    /// # Errors
    /// [`Error::Arity`] at the end.
    pub fn required(&mut self) -> Result<Arg<'a>, Error> {
        match self.take() {
            Some(arg) => Ok(arg),
            None => Err(Error::Arity),
        }
    }

    /// The next argument, if any.
    pub fn take(&mut self) -> Option<Arg<'a>> {
        let arg = self.args.get(self.at)?;
        self.at += 1;
        Some(arg)
    }

    /// The next argument, unless it is one of those that may follow in its place.
    #[inline]
    pub fn take_unless(&mut self, other: impl FnOnce(Arg<'a>) -> bool) -> Option<Arg<'a>> {
        let next = self.peek().filter(|&next| !other(next));
        self.at += usize::from(next.is_some());
        next
    }

    /// The next argument without passing it.
    pub fn peek(&self) -> Option<Arg<'a>> {
        self.args.get(self.at)
    }

    /// Passes the next argument when it is this keyword.
    pub fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|arg| arg.is(keyword));
        self.at += usize::from(found);
        found
    }

    /// How many are left.
    pub const fn left(&self) -> usize {
        self.args.len().saturating_sub(self.at)
    }

    /// The next option, one of `keywords`; `None` at the end. A call of this on the
    /// same cursor gives the same keywords.
    ///
    /// # Errors
    /// Another argument, or an option that came before.
    #[inline]
    pub fn option(&mut self, keywords: &[&'static str]) -> Result<Option<&'static str>, Error> {
        let Some(arg) = self.take() else { return Ok(None) };
        for (bit, &keyword) in (0..u32::BITS).zip(keywords) {
            if arg.is(keyword) {
                let mask = 1 << bit;
                if self.met & mask != 0 {
                    return Err(twice(keyword));
                }
                self.met |= mask;
                return Ok(Some(keyword));
            }
        }
        Err(way_out::unexpected(arg, keywords))
    }

    /// The value that must follow a keyword.
    ///
    /// # Errors
    /// A syntax error that names the keyword.
    pub fn value_of(&mut self, keyword: &'static str) -> Result<Arg<'a>, Error> {
        self.take().ok_or_else(|| Error::Usage(format!("syntax error: {keyword} needs a value")))
    }

    /// `numkeys` or `numitems`, which must be there, with the arguments that it
    /// counts: so many each.
    ///
    /// # Errors
    /// No number, or more than what follows.
    pub fn count(&mut self, name: &'static str, max: u64, each: usize) -> Result<usize, Error> {
        let arg = self.required()?;
        let count = duration::whole_number(arg.bytes())
            .filter(|n| (1..=max).contains(n))
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| Error::Usage(format!("{name} must be a whole number from 1 to {max}")))?;
        if self.left() < count.saturating_mul(each) {
            let follow = if name == "numitems" {
                "items"
            } else if each > 1 {
                "keys and limits"
            } else {
                "keys"
            };
            return Err(Error::Usage(format!("{name} is more than the {follow} that follow")));
        }
        Ok(count)
    }

    /// The key of a command that takes nothing else.
    ///
    /// # Errors
    /// [`Error::Arity`], or a syntax error that shows what is too much.
    pub fn only_key(args: Args<'a>) -> Result<Arg<'a>, Error> {
        let mut walk = Self::new(args);
        let key = walk.required()?;
        walk.end()?;
        Ok(key)
    }

    /// Succeeds when nothing is left, in a command of so many arguments and no
    /// more. The server checks that itself where it knows the arity (7.0 on).
    ///
    /// # Errors
    /// [`Error::Arity`].
    pub fn no_more(&self) -> Result<(), Error> {
        if self.left() == 0 { Ok(()) } else { Err(Error::Arity) }
    }

    /// Succeeds when nothing is left.
    ///
    /// # Errors
    /// A syntax error that shows what is.
    pub fn end(&self) -> Result<(), Error> {
        self.peek().map_or(Ok(()), |arg| Err(way_out::unexpected(arg, &[])))
    }
}

#[cold]
fn twice(keyword: &str) -> Error {
    Error::Usage(format!("syntax error: {keyword} is given twice"))
}

/// A whole number within bounds.
///
/// # Errors
/// [`Error::Range`] with the bounds.
pub fn number(name: &'static str, arg: Arg<'_>, min: u64, max: u64) -> Result<u64, Error> {
    duration::whole_number(arg.bytes())
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| Error::Range { name, expected: format!("a whole number from {min} to {max}") })
}

/// Units that a call asks for: 1 ..= 10^12.
///
/// # Errors
/// [`Error::Range`].
pub fn cost(arg: Arg<'_>) -> Result<u64, Error> {
    match arg.bytes() {
        b"0" => Err(Error::Range {
            name: "COST",
            expected: format!("a whole number from 1 to {MAX_COUNT}; RL.QUOTA looks without taking"),
        }),
        _ => number("COST", arg, 1, MAX_COUNT),
    }
}

/// A length of time of at least a millisecond, in microseconds.
///
/// # Errors
/// The malformed duration and why.
pub fn length(arg: Arg<'_>) -> Result<u64, Error> {
    match duration::parse(arg.bytes())? {
        0 => Err(TokenError::new("duration", arg.bytes(), "must be at least 1ms").into()),
        us => Ok(us),
    }
}

/// `FOR d`, the last that a command takes, where it comes: the moment that is `d` from `now`.
///
/// # Errors
/// As [`length`].
pub fn optional_for(walk: &mut ArgCursor<'_>, now: Micros) -> Result<Until, Error> {
    if walk.keyword("FOR") {
        return Ok(Until::At(now.plus(length(walk.value_of("FOR")?)?).min(Micros::MAX)));
    }
    match walk.peek() {
        Some(arg) => Err(way_out::unexpected(arg, &["FOR"])),
        None => Ok(Until::Forever),
    }
}

/// The options of commands that go through the keyspace like SCAN.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// Where to go on.
    pub cursor: &'a [u8],
    /// Which names.
    pub pattern: Option<&'a [u8]>,
    /// About how many keys to look at.
    pub count: u64,
}

/// `cursor [MATCH glob] [COUNT n]`.
///
/// # Errors
/// As SCAN's own.
pub fn scan_options<'a>(walk: &mut ArgCursor<'a>) -> Result<ScanOptions<'a>, Error> {
    let cursor = walk.required()?.bytes();
    if duration::whole_number(cursor).is_none() {
        return Err(Error::Usage(
            "invalid cursor: begin with 0, and go on with the cursor of the last reply".to_owned(),
        ));
    }
    let mut options = ScanOptions { cursor, pattern: None, count: 10 };
    while let Some(option) = walk.option(&["MATCH", "COUNT"])? {
        let value = walk.value_of(option)?;
        match option {
            "MATCH" => options.pattern = Some(value.bytes()),
            _ => options.count = number("COUNT", value, 1, 1_000_000)?,
        }
    }
    Ok(options)
}
