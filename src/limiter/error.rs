//! Every error that a command answers with.

use crate::core::text::token::TokenError;
use crate::server::context::Context;
use crate::server::ffi::reply;
use crate::server::keys::key::WrongType;
use crate::server::load::command::Refusal;
use crate::types::policies::node::Unresolved;

/// Why a command was refused. The text is what the client sees, code first.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments")]
    Arity,
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// A malformed token: it names itself and the reason.
    #[error("ERR {0}")]
    Token(#[from] TokenError),
    /// An argument that is not understood where it stands.
    #[error("ERR syntax error near '{0}'")]
    Syntax(String),
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
    #[error("ERR no policy '{0}'")]
    NoPolicy(String),
    /// Limits that only reservations can take.
    #[error("ERR invalid limit '{0}': concurrent limits are taken with RL.RESERVE")]
    Concurrent(String),
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

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Self {
        Self::WrongType
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
    fn send(&self, ctx: &Context<'_>) {
        match self {
            Self::Arity => reply::wrong_arity(ctx),
            other => reply::error(ctx, &other.to_string()),
        }
    }
}
