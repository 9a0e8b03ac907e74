//! Errors.

use std::fmt;

use redis::{ErrorKind, RedisError};

/// The reason why nothing was decided.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Redis does not answer, or answers that it cannot write. If a fallback can decide instead, it
    /// does, and the caller does not see this error.
    Away,
    /// Redis refuses the credentials or the database of the URL, has a certificate that is not trusted,
    /// has no Floodgate, or is no cluster where one was named. A person has to put that right. Once
    /// Redis has answered for the first time, the same is an outage and not this error. A node of a
    /// cluster is always misconfigured: use `Server::cluster` for it.
    Misconfigured(RedisError),
    /// A limit counts requests (`per=call`), and a block of a [`Lease`](crate::Lease) would count as
    /// one request.
    CannotLease,
    /// JSON cannot hold the value that a cache should keep, or the kept text is no JSON.
    NotJson(String),
    /// Redis refuses the command. The limits may be malformed, the key may be of another type, or the
    /// user may lack rights.
    Refused(RedisError),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => write!(out, "Redis is away"),
            Self::Misconfigured(error) if is_unknown_command(error) => {
                write!(out, "{error}: load the module (loadmodule libfloodgate.so)")
            }
            Self::Misconfigured(error) if is_moved(error) => {
                write!(
                    out,
                    "{error}: this server is a node of a cluster, take Server::cluster (feature cluster)"
                )
            }
            Self::Misconfigured(error) if is_no_cluster(error) => {
                write!(out, "{error}: this server is no cluster, take Server::open")
            }
            Self::Misconfigured(error) if are_wrong_credentials(error) => {
                write!(out, "{error}: check the user and the password of the URL")
            }
            Self::Misconfigured(error) if is_not_trusted(error) => {
                write!(out, "{error}: this program must trust the authority of the server's certificate")
            }
            Self::Misconfigured(error) => write!(out, "{error}: check the URL"),
            Self::CannotLease => write!(
                out,
                "a limit with per=call counts requests, and cannot be leased: use Limiter::acquire"
            ),
            Self::NotJson(reason) => write!(out, "the value is no JSON: {reason}"),
            Self::Refused(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Away | Self::CannotLease | Self::NotJson(_) => None,
            Self::Misconfigured(error) | Self::Refused(error) => Some(error),
        }
    }
}

/// Whether the server does not know a command of ours.
pub(crate) fn is_unknown_command(error: &RedisError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("unknown command") && (text.contains("rl.") || text.contains("cb."))
}

/// Whether the server wants other credentials.
pub(crate) fn are_wrong_credentials(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || ["NOAUTH", "WRONGPASS", "DENIED"].contains(&code(error).as_str())
}

/// Whether the server shows a certificate that this program does not trust.
pub(crate) fn is_not_trusted(error: &RedisError) -> bool {
    error.to_string().contains("invalid peer certificate")
}

/// Whether the server was taken for a node of a cluster, and is none.
pub(crate) fn is_no_cluster(error: &RedisError) -> bool {
    error.to_string().contains("cluster support disabled")
}

/// Whether the server is one of several that have the keys.
pub(crate) fn is_moved(error: &RedisError) -> bool {
    code(error) == "MOVED"
}

/// The first word of what the server says; of a pipeline, to the first command.
pub(crate) fn code(error: &RedisError) -> String {
    let first = error.clone().into_server_errors().and_then(|all| Some(all.first()?.1.code().to_owned()));
    first.unwrap_or_else(|| error.code().unwrap_or_default().to_owned())
}
