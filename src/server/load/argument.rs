//! The arguments of a command, as COMMAND DOCS, RL.HELP and the reference show them.

/// One argument of a command, as COMMAND DOCS and RL.HELP show it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// The name of the argument.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: ArgumentKind,
    /// The keyword before it, if it has one.
    pub token: Option<&'static str>,
    /// True if it may be left out.
    pub optional: bool,
    /// True if it may be repeated.
    pub multiple: bool,
}

/// The kind of value that an argument takes.
#[derive(Clone, Copy, Debug)]
pub enum ArgumentKind {
    /// A key.
    Key,
    /// A string.
    Text,
    /// An integer.
    Integer,
    /// A number with decimals.
    Double,
    /// A glob pattern.
    Pattern,
    /// The argument is its keyword alone.
    Flag,
    /// One of these arguments.
    OneOf(&'static [Argument]),
    /// All of these arguments, in this order.
    Group(&'static [Argument]),
}

impl Argument {
    const fn of(name: &'static str, kind: ArgumentKind) -> Self {
        Self { name, kind, token: None, optional: false, multiple: false }
    }

    /// A key.
    pub const fn key(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Key)
    }

    /// A string.
    pub const fn text(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Text)
    }

    /// An integer.
    pub const fn integer(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Integer)
    }

    /// A number with decimals.
    pub const fn double(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Double)
    }

    /// A glob pattern.
    pub const fn pattern(name: &'static str) -> Self {
        Self::of(name, ArgumentKind::Pattern)
    }

    /// A keyword without a value.
    pub const fn flag(token: &'static str) -> Self {
        Self { token: Some(token), ..Self::of(token, ArgumentKind::Flag) }
    }

    /// One of several arguments.
    pub const fn one_of(name: &'static str, choices: &'static [Self]) -> Self {
        Self::of(name, ArgumentKind::OneOf(choices))
    }

    /// Several arguments, in this order.
    pub const fn group(name: &'static str, parts: &'static [Self]) -> Self {
        Self::of(name, ArgumentKind::Group(parts))
    }

    /// The same argument, after a keyword.
    #[must_use]
    pub const fn after(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same argument, which may be left out.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same argument, which may be repeated.
    #[must_use]
    pub const fn multiple(self) -> Self {
        Self { multiple: true, ..self }
    }

    /// The argument as people write it, such as `[COST n]`.
    pub fn syntax(&self) -> String {
        let inner = match self.kind {
            ArgumentKind::Flag => String::new(),
            ArgumentKind::OneOf(choices) => choices.iter().map(Self::syntax).collect::<Vec<_>>().join(" | "),
            ArgumentKind::Group(parts) => parts.iter().map(Self::syntax).collect::<Vec<_>>().join(" "),
            _ => self.name.to_owned(),
        };
        let mut text = match (self.token, inner.is_empty()) {
            (Some(token), true) => token.to_owned(),
            (Some(token), false) => format!("{token} {inner}"),
            (None, _) => inner,
        };
        if self.multiple {
            text = format!("{text} [{text} ...]");
        }
        match (self.optional, self.kind) {
            (true, _) => format!("[{text}]"),
            (false, ArgumentKind::OneOf(_)) => format!("<{text}>"),
            _ => text,
        }
    }

    /// The number of words of the argument in a call.
    pub(super) fn words(&self) -> WordCount {
        if self.optional {
            return WordCount { least: 0, is_exact: false };
        }
        let value = match self.kind {
            ArgumentKind::Flag => WordCount::NONE,
            ArgumentKind::OneOf(choices) => {
                let all: Vec<_> = choices.iter().map(Self::words).collect();
                let least = all.iter().map(|one| one.least).min().unwrap_or(0);
                WordCount { least, is_exact: all.iter().all(|one| one.is_exact && one.least == least) }
            }
            ArgumentKind::Group(parts) => parts.iter().map(Self::words).fold(WordCount::NONE, WordCount::and),
            _ => WordCount { least: 1, is_exact: true },
        };
        let token = WordCount { least: i32::from(self.token.is_some()), is_exact: !self.multiple };
        token.and(value)
    }
}

/// The number of words that an argument takes in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordCount {
    /// The least number.
    pub least: i32,
    /// True if there are never more.
    pub is_exact: bool,
}

impl WordCount {
    const NONE: Self = Self { least: 0, is_exact: true };

    /// The number of words of both, one after the other.
    pub const fn and(self, next: Self) -> Self {
        Self { least: self.least + next.least, is_exact: self.is_exact && next.is_exact }
    }
}
