//! The errors that commands answer with.

use crate::core::limits::MAX_UNLISTED;
use crate::core::text::token::{TokenError, shown};
use crate::server::context::Context;
use crate::server::ffi::reply;
use crate::server::keys::data_type::NativeType as _;
use crate::server::keys::key::WrongType;
use crate::server::load::command::Command;
use crate::server::load::entry::CommandError;
use crate::types::cbcircuit::CbCircuit;
use crate::types::policies::node::Unresolved;
use crate::types::ratelimit::RateLimit;

/// The reason for which a command is refused. The text is what the client sees, with the code
/// first.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too few or too many arguments. The command's usage follows the text.
    #[error("ERR wrong number of arguments")]
    Arity,
    /// The key holds another type.
    #[error(
        "WRONGTYPE Operation against a key holding the wrong kind of value{}", what_it_holds(*.0)
    )]
    WrongType(WrongType),
    /// A malformed token. Its error names it and the reason.
    #[error("ERR {0}")]
    Token(#[from] TokenError),
    /// An argument that is not allowed where it stands.
    #[error("ERR syntax error near '{near}'{}", hint.as_deref().unwrap_or_default())]
    Syntax {
        /// The unexpected argument.
        near: String,
        /// The way out, after a comma. Without one, the command's usage follows the text.
        hint: Option<String>,
    },
    /// Arguments that make no valid call. The command's usage follows the text.
    #[error("ERR {0}")]
    Usage(String),
    /// An error in one of several items.
    #[error("{}", in_item(*number, what, error))]
    Item {
        /// The kind of item: `item` or `key`.
        what: &'static str,
        /// The position of the item, counted from 1.
        number: usize,
        /// The error in the item.
        error: Box<Error>,
    },
    /// A number that is malformed or out of bounds.
    #[error("ERR {name} must be {expected}")]
    Range {
        /// The name of the number.
        name: &'static str,
        /// The expected number.
        expected: String,
    },
    /// Nothing determines the key's limits.
    #[error(
        "ERR no limits for this key: give limits such as 100/m, pin some (RL.PIN), set a policy with a PREFIX, or set default-limit"
    )]
    NoLimits,
    /// Nothing determines the key's breaker.
    #[error(
        "ERR no breaker for this key: give one such as 50%/60s, pin one (CB.PIN), set a policy with a PREFIX, or set default-breaker"
    )]
    NoBreaker,
    /// There is no policy of this name.
    #[error("ERR no policy '{0}', RL.POLICY SET makes one and RL.POLICY LIST shows all")]
    NoPolicy(String),
    /// Limits that only reservations can take: the limit in quotes, and whose it is.
    #[error("ERR invalid limit {0}: concurrent limits are taken with RL.RESERVE")]
    Concurrent(String),
    /// Limits that only reservations can take, in a command that makes a reservation with TTL.
    #[error("ERR invalid limit {0}: concurrent limits need TTL here, such as TTL 30s")]
    ConcurrentWithoutTtl(String),
    /// A grant would leave aside more limits with usage than a key remembers.
    #[error(
        "ERR too many limits with usage on this key: {MAX_UNLISTED} are kept beside those that a call names; name fewer different ones, wait until one is full again, or forget all (RL.RESET)"
    )]
    TooManyUnlisted,
    /// Policies cannot be changed on this replica.
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    /// Memory is short.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// Any other error, with its full text.
    #[error("ERR {0}")]
    Other(String),
    /// An error of the server's own, with its code.
    #[error("{0}")]
    Verbatim(String),
}

/// An explanation for a key that holds our other type. A newcomer may use one key for a limiter and a
/// breaker, and the server's own text does not tell the mistake.
fn what_it_holds(wrong: WrongType) -> &'static str {
    match wrong.holds {
        Some(CbCircuit::NAME) => ": it holds a breaker (cbcircuit), a limit needs a key of its own",
        Some(RateLimit::NAME) => ": it holds limits (ratelimit), a breaker needs a key of its own",
        _ => "",
    }
}

impl From<WrongType> for Error {
    fn from(wrong: WrongType) -> Self {
        Self::WrongType(wrong)
    }
}

/// Puts the item after the code, because clients look at the code.
fn in_item(number: usize, what: &str, error: &Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("ERR ") {
        Some(text) => format!("ERR {what} {number}: {text}"),
        None => format!("{text} ({what} {number})"),
    }
}

impl Error {
    /// The error of an argument that is not allowed where it stands. `hint` is the way out.
    pub fn near(argument: &[u8], hint: impl Into<String>) -> Self {
        Self::Syntax { near: shown(argument), hint: Some(format!(", {}", hint.into())) }
    }

    /// Adds the item that the error is about. `index` counts from 0.
    #[must_use]
    #[cold]
    pub fn of_item(self, what: &'static str, index: usize) -> Self {
        Self::Item { what, number: index.saturating_add(1), error: Box::new(self) }
    }

    /// True if the usage of the command helps.
    fn wants_usage(&self) -> bool {
        match self {
            Self::Arity | Self::Usage(_) | Self::Syntax { hint: None, .. } => true,
            Self::Item { error, .. } => error.wants_usage(),
            _ => false,
        }
    }
}

impl From<Unresolved> for Error {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::NoPolicy(name) => Self::NoPolicy(name.to_string()),
            Unresolved::Token(error) => Self::Token(error),
        }
    }
}

impl CommandError for Error {
    #[cold]
    fn send(&self, ctx: &Context<'_>, command: Option<&Command>) {
        let mut text = match (self, command) {
            (Self::Arity, None) => return reply::wrong_arity(ctx),
            // The same text as the server's.
            (Self::Arity, Some(command)) => {
                format!("{self} for '{}' command", command.name.to_lowercase())
            }
            _ => self.to_string(),
        };
        if let Some(command) = command.filter(|_| self.wants_usage()) {
            text.push_str("; usage: ");
            text.push_str(&command.syntax());
        }
        reply::error(ctx, &text);
    }
}
