//! The options of a command, parsed by the same rows from which its syntax and its COMMAND DOCS are
//! made. So neither can tell of an option that the parser does not take.

use crate::limiter::Error;
use crate::server::ffi::args::Arg;
use crate::server::load::argument::{Argument, ArgumentKind};

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionRow {
    pub keyword: &'static str,
    pub takes_value: bool,
    /// The option itself and the options that it excludes: bit `n` stands for row `n`.
    pub alternatives: u32,
}

/// The most options of one command.
const MOST: usize = 8;

/// The options of one command: every argument with a keyword, except the words of a required
/// choice.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    rows: [OptionRow; MOST],
    count: usize,
    /// The first letters of all keywords, as bits of [`letter`].
    letters: u32,
}

/// The bit of a letter, the same for both cases. 0 for any other byte.
const fn letter(byte: Option<&u8>) -> u32 {
    match byte {
        Some(byte) if byte.is_ascii_alphabetic() => 1 << (*byte & 31),
        _ => 0,
    }
}

impl Options {
    /// The options among these arguments of a command.
    pub const fn of(arguments: &[Argument]) -> Self {
        let none = OptionRow { keyword: "", takes_value: false, alternatives: 0 };
        Self { rows: [none; MOST], count: 0, letters: 0 }.with_all(arguments)
    }

    const fn with_all(mut self, mut arguments: &[Argument]) -> Self {
        while let [argument, rest @ ..] = arguments {
            self = self.with(argument);
            arguments = rest;
        }
        self
    }

    #[allow(clippy::indexing_slicing)] // a table that is too long does not compile
    const fn with(mut self, argument: &Argument) -> Self {
        match (argument.token, argument.kind) {
            (Some(keyword), kind) => {
                let takes_value = !matches!(kind, ArgumentKind::Flag);
                self.rows[self.count] = OptionRow { keyword, takes_value, alternatives: 1 << self.count };
                self.count += 1;
                self.letters |= letter(keyword.as_bytes().first());
                self
            }
            (None, ArgumentKind::Group(parts)) if argument.optional => self.with_all(parts),
            (None, ArgumentKind::OneOf(choices)) if argument.optional => {
                let first = self.count;
                self = self.with_all(choices);
                let mut at = first;
                while at < self.count {
                    self.rows[at].alternatives = (1 << self.count) - (1 << first);
                    at += 1;
                }
                self
            }
            (None, _) => self,
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &OptionRow> {
        self.rows.iter().take(self.count)
    }

    /// The keywords of all options, in the order of the arguments.
    pub fn keywords(&self) -> impl Iterator<Item = &'static str> {
        self.rows().map(|row| row.keyword)
    }

    /// True if an argument is the keyword of an option. For most other arguments the first letter
    /// is enough to say no.
    #[inline]
    pub fn is_keyword(&self, arg: Arg<'_>) -> bool {
        self.letters & letter(arg.bytes().first()) != 0 && self.keywords().any(|keyword| arg.is(keyword))
    }

    /// The error of a `numkeys` that counts the keyword of an option as a key, if it does.
    #[cold]
    pub fn counted_as_key<'a>(&self, mut keys: impl Iterator<Item = Arg<'a>>) -> Option<Error> {
        let keyword = keys.find(|key| self.is_keyword(*key))?;
        Some(Error::near(keyword.bytes(), "numkeys counts it as a key"))
    }

    /// True if the command has this option. `keyword` is in capitals.
    pub fn has(&self, keyword: &str) -> bool {
        self.keywords().any(|own| own == keyword)
    }
}

/// A row of the argument table for each of these words, as a keyword without a value. The rows are
/// the choices of a required argument.
#[allow(clippy::indexing_slicing)] // only while the crate is compiled
pub const fn flags<T: Copy, const N: usize>(words: &[(&'static str, T); N]) -> [Argument; N] {
    let mut rows = [Argument::flag(""); N];
    let mut at = 0;
    while at < N {
        rows[at] = Argument::flag(words[at].0);
        at += 1;
    }
    rows
}
