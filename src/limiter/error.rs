//! Every error that a command answers with.

use crate::core::limits::MAX_ORPHANS;
use crate::core::text::token::{TokenError, shown};
use crate::server::context::Context;
use crate::server::ffi::reply;
use crate::server::keys::data_type::NativeType as _;
use crate::server::keys::key::WrongType;
use crate::server::load::command::{Command, Refusal};
use crate::types::cbcircuit::CbCircuit;
use crate::types::policies::node::Unresolved;
use crate::types::ratelimit::RateLimit;

/// Why a command was refused. The text is what the client sees, code first.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too few or too many arguments; the command's usage is told behind it.
    #[error("ERR wrong number of arguments")]
    Arity,
    /// The key holds another type.
    #[error(transparent)]
    WrongType(#[from] WrongKind),
    /// A malformed token: it names itself and the reason.
    #[error("ERR {0}")]
    Token(#[from] TokenError),
    /// An argument that is not understood where it stands.
    #[error("ERR syntax error near '{near}'{}", way.as_deref().unwrap_or_default())]
    Syntax {
        /// The argument.
        near: String,
        /// The way out, after a comma; without one the command's usage is told.
        way: Option<String>,
    },
    /// Arguments that do not make a call; the command's usage is told behind it.
    #[error("ERR {0}")]
    Usage(String),
    /// What is wrong with one of several items.
    #[error("{}", in_item(*number, what, error))]
    Item {
        /// `item` or `key`.
        what: &'static str,
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// A number that is no number, or beyond its bounds.
    #[error("ERR {name} must be {expected}")]
    Range {
        /// What the number is.
        name: &'static str,
        /// What it should have been.
        expected: String,
    },
    /// Nothing says what the key's limits are.
    #[error(
        "ERR no limits for this key: give limits such as 100/m, pin some (RL.PIN), set a policy with a PREFIX, or set default-limit"
    )]
    NoLimits,
    /// Nothing says what the key's breaker is.
    #[error(
        "ERR no breaker for this key: give one such as 50%/60s, pin one (CB.PIN), set a policy with a PREFIX, or set default-breaker"
    )]
    NoBreaker,
    /// A policy that is not there.
    #[error("ERR no policy '{0}', RL.POLICY SET makes one and RL.POLICY LIST shows all")]
    NoPolicy(String),
    /// Limits that only reservations can take.
    #[error("ERR invalid limit '{0}': concurrent limits are taken with RL.RESERVE")]
    Concurrent(String),
    /// The same where TTL makes a reservation of the call.
    #[error("ERR invalid limit '{0}': concurrent limits need TTL here, such as TTL 30s")]
    ConcurrentWithoutTtl(String),
    /// A grant would leave aside more limits with usage than a key remembers.
    #[error(
        "ERR too many limits with usage on this key: {MAX_ORPHANS} are kept beside those that a call names; name fewer different ones, wait until one is full again, or forget all (RL.RESET)"
    )]
    TooManyAside,
    /// Policies cannot be changed on this replica.
    #[error("READONLY You can't write against a read only replica.")]
    ReadOnly,
    /// Memory is short.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// Anything else, said in full.
    #[error("ERR {0}")]
    Other(String),
    /// An error of the server's own, passed on with its code.
    #[error("{0}")]
    Verbatim(String),
}

/// What a key holds in place of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WRONGTYPE Operation against a key holding the wrong kind of value{}", self.what_it_holds())]
pub struct WrongKind {
    /// The name of our type that it holds; none for a type of others.
    holds: Option<&'static str>,
}

impl WrongKind {
    /// One key for a limiter and a breaker is a mistake of whoever is new here; the
    /// server's own text does not tell it.
    fn what_it_holds(self) -> &'static str {
        match self.holds {
            Some(CbCircuit::NAME) => ": it holds a breaker (cbcircuit), a limit needs a key of its own",
            Some(RateLimit::NAME) => ": it holds limits (ratelimit), a breaker needs a key of its own",
            _ => "",
        }
    }
}

impl From<WrongType> for Error {
    fn from(wrong: WrongType) -> Self {
        Self::WrongType(WrongKind { holds: wrong.holds })
    }
}

/// Names the item behind the code, which clients look at.
fn in_item(number: usize, what: &str, error: &Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("ERR ") {
        Some(text) => format!("ERR {what} {number}: {text}"),
        None => format!("{text} ({what} {number})"),
    }
}

impl Error {
    /// An argument that has no place where it stands; `way` is the way out.
    pub fn near(argument: &[u8], way: impl Into<String>) -> Self {
        Self::Syntax { near: shown(argument), way: Some(format!(", {}", way.into())) }
    }

    /// Says which of several items it is about.
    #[must_use]
    #[cold]
    pub fn of_item(self, what: &'static str, index: usize) -> Self {
        Self::Item { what, number: index.saturating_add(1), error: Box::new(self) }
    }

    /// Whether the usage of the command helps on.
    fn wants_usage(&self) -> bool {
        match self {
            Self::Arity | Self::Usage(_) | Self::Syntax { way: None, .. } => true,
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

impl Refusal for Error {
    #[cold]
    fn send(&self, ctx: &Context<'_>, command: Option<&Command>) {
        let mut text = match (self, command) {
            (Self::Arity, None) => return reply::wrong_arity(ctx),
            // As the server says it.
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
