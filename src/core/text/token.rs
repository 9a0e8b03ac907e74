//! Why a token of one of the grammars was refused.

use std::fmt;

/// The longest part of a malformed token that an error repeats, in bytes.
pub const SHOWN_BYTES: usize = 64;

/// A malformed token: what kind of thing it should have been, the token, why.
///
/// Its text is the tail of the error that a client sees, for example
/// `invalid limit '100/': missing period`; unprintable bytes are escaped and
/// the token is cut at [`SHOWN_BYTES`], so the text is always one line of
/// printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} '{token}': {reason}")]
pub struct TokenError {
    /// `limit`, `breaker`, `duration`, …
    pub what: &'static str,
    /// The offending part, already escaped and cut.
    pub token: String,
    /// The reason in a few words, lower case, no full stop.
    pub reason: String,
}

impl TokenError {
    /// Names `token` and says why it is no valid `what`.
    pub fn new(what: &'static str, token: &[u8], reason: impl fmt::Display) -> Self {
        Self { what, token: shown(token), reason: reason.to_string() }
    }
}

/// `bytes` as printable ASCII, cut at [`SHOWN_BYTES`] input bytes.
///
/// ```
/// use floodgate::core::text::token::shown;
///
/// assert_eq!(shown(b"10/s"), "10/s");
/// assert_eq!(shown(b"10\n"), "10\\n"); // unprintable bytes are escaped
/// ```
pub fn shown(bytes: &[u8]) -> String {
    let head = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let mut text = head.escape_ascii().to_string();
    if head.len() < bytes.len() {
        text.push_str("...");
    }
    text
}
