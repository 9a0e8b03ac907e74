//! The cursor that walks the arguments of a command.

use crate::commands::hints;
use crate::commands::options::{OptionRow, Options};
use crate::core::text::duration;
use crate::core::text::token::listed;
use crate::limiter::Error;
use crate::server::ffi::args::{Arg, Args};

/// A cursor that walks the arguments from front to back.
#[derive(Clone, Copy, Debug)]
pub struct ArgCursor<'a> {
    args: Args<'a>,
    at: usize,
    /// The options that the cursor has passed: bit `n` stands for row `n` of the [`Options`].
    met: u32,
}

impl<'a> ArgCursor<'a> {
    /// A cursor at the first argument.
    pub const fn new(args: Args<'a>) -> Self {
        Self { args, at: 0, met: 0 }
    }

    /// The next argument, which is required.
    ///
    /// # Errors
    /// [`Error::Arity`] at the end.
    pub fn required(&mut self) -> Result<Arg<'a>, Error> {
        match self.take() {
            Some(arg) => Ok(arg),
            None => Err(Error::Arity),
        }
    }

    /// The next argument, which is required. `what` is its name, for the error if the keyword of an
    /// option stands in its place.
    ///
    /// # Errors
    /// [`Error::Arity`] at the end; a syntax error at a keyword.
    pub fn required_before(&mut self, options: &Options, what: &'static str) -> Result<Arg<'a>, Error> {
        let arg = self.required()?;
        if options.is_keyword(arg) {
            return Err(Error::near(arg.bytes(), format!("write the {what} before it")));
        }
        Ok(arg)
    }

    /// The next argument, if there is one.
    pub fn take(&mut self) -> Option<Arg<'a>> {
        let arg = self.args.get(self.at)?;
        self.at += 1;
        Some(arg)
    }

    /// The next argument, unless `other` is true for it, because it may follow in its place.
    #[inline]
    pub fn take_unless(&mut self, other: impl FnOnce(Arg<'a>) -> bool) -> Option<Arg<'a>> {
        let next = self.peek().filter(|&next| !other(next));
        self.at += usize::from(next.is_some());
        next
    }

    /// The next argument. The cursor stays before it.
    pub fn peek(&self) -> Option<Arg<'a>> {
        self.args.get(self.at)
    }

    /// Passes the next argument if it is this keyword, and returns whether it was.
    pub fn keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|arg| arg.is(keyword));
        self.at += usize::from(found);
        found
    }

    /// The number of arguments that are left.
    pub const fn left(&self) -> usize {
        self.args.len().saturating_sub(self.at)
    }

    /// Takes the next argument, which must be one of these words, and returns what the word stands
    /// for.
    ///
    /// # Errors
    /// [`Error::Arity`] at the end; a syntax error that lists the words, for any other argument.
    pub fn choice<T: Copy>(&mut self, words: &[(&'static str, T)]) -> Result<T, Error> {
        let arg = self.required()?;
        chosen(arg, words).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            hints::none_of(arg, &listed(&words, "or"))
        })
    }

    /// Takes the next option. Returns its keyword with its value, or with the keyword's own
    /// argument if the option takes no value; `None` at the end.
    ///
    /// Every call on one cursor must give the same `options`, because the cursor remembers the
    /// options that it has passed by their rows.
    ///
    /// # Errors
    /// The argument is no option, its value is missing, or the same option or one that excludes it
    /// came before.
    #[inline]
    pub fn option(&mut self, options: &Options) -> Result<Option<(&'static str, Arg<'a>)>, Error> {
        match self.take() {
            Some(arg) => self.option_of(arg, options).map(Some),
            None => Ok(None),
        }
    }

    /// The option whose keyword this argument is.
    fn option_of(&mut self, arg: Arg<'a>, options: &Options) -> Result<(&'static str, Arg<'a>), Error> {
        let Some((place, row)) = options.rows().enumerate().find(|(_, row)| arg.is(row.keyword)) else {
            return Err(hints::unexpected(arg, options));
        };
        if self.met & row.alternatives != 0 {
            return Err(met_before(options, row, self.met & 1 << place != 0));
        }
        self.met |= 1 << place;
        let value = if row.takes_value { self.value_of(row.keyword)? } else { arg };
        Ok((row.keyword, value))
    }

    /// Takes the next argument, unless it is the keyword of an option.
    #[inline]
    pub fn before(&mut self, options: &Options) -> Option<Arg<'a>> {
        self.take_unless(|next| options.is_keyword(next))
    }

    /// The value that must follow a keyword.
    ///
    /// # Errors
    /// A syntax error that names the keyword.
    pub fn value_of(&mut self, keyword: &'static str) -> Result<Arg<'a>, Error> {
        self.take().ok_or_else(|| Error::Usage(format!("syntax error: {keyword} needs a value")))
    }

    /// Parses a count, `numkeys` or `numitems`, and checks that it counts no more groups of `each`
    /// arguments than follow.
    ///
    /// # Errors
    /// The count is no number, or there are fewer arguments.
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

    /// The key of a command that takes no other argument.
    ///
    /// # Errors
    /// [`Error::Arity`] without a key, and with a further argument.
    pub fn only_key(args: Args<'a>) -> Result<Arg<'a>, Error> {
        let mut cursor = Self::new(args);
        let key = cursor.required()?;
        cursor.no_more()?;
        Ok(key)
    }

    /// Checks that nothing is left, in a command without keywords. Its usage, which the error shows, says
    /// all that may stand there. Servers from 7.0 on reply the same by themselves where the number of
    /// arguments is fixed, and they never call the command.
    ///
    /// # Errors
    /// [`Error::Arity`].
    pub fn no_more(&self) -> Result<(), Error> {
        if self.left() == 0 { Ok(()) } else { Err(Error::Arity) }
    }

    /// Checks that nothing is left, in a command or a subcommand with keywords, or with a counted list.
    /// There it helps to see which word is too many.
    ///
    /// # Errors
    /// A syntax error that shows the next argument.
    pub fn end(&self) -> Result<(), Error> {
        self.peek().map_or(Ok(()), |arg| Err(hints::unexpected(arg, &Options::of(&[]))))
    }
}

/// The error for an option that was given before (`itself`), or after one that excludes it.
#[cold]
fn met_before(options: &Options, row: &OptionRow, itself: bool) -> Error {
    if itself {
        return Error::Usage(format!("syntax error: {} is given twice", row.keyword));
    }
    let mut both: Vec<_> = options.rows().filter(|other| other.alternatives == row.alternatives).collect();
    both.sort_by_key(|row| row.takes_value);
    let keywords: Vec<&str> = both.iter().map(|row| row.keyword).collect();
    Error::Usage(format!("syntax error: {} exclude each other", keywords.join(" and ")))
}

/// Returns the value that the argument stands for, if the argument is one of these words.
pub fn chosen<T: Copy>(arg: Arg<'_>, words: &[(&'static str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| arg.is(word)).map(|&(_, meaning)| meaning)
}
