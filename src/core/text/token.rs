//! Errors for tokens of the grammars.

use std::fmt;

/// The most bytes of a malformed token that an error repeats.
pub const SHOWN_BYTES: usize = 64;

/// The error for a malformed token: what it should have been, the token, and the reason.
///
/// Its text is the tail of the error that a client sees, for example `invalid limit '100/': missing
/// period`. Unprintable bytes are escaped and the token is cut at [`SHOWN_BYTES`], so the text is
/// always one line of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} '{token}': {reason}")]
pub struct TokenError {
    /// The kind of token that was expected, such as `limit`, `breaker` or `duration`.
    pub what: &'static str,
    /// The malformed part, escaped and cut.
    pub token: String,
    /// The reason in a few words, in lower case, without a full stop.
    pub reason: String,
}

impl TokenError {
    /// An error that names `token` and says why it is no valid `what`.
    pub fn new(what: &'static str, token: &[u8], reason: impl fmt::Display) -> Self {
        Self { what, token: shown(token), reason: reason.to_string() }
    }
}

/// The bytes as printable ASCII, cut after [`SHOWN_BYTES`] bytes.
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

/// The word that `text` clearly means, by the other spellings of each word. Letter case does not
/// matter.
pub fn meant<'w>(words: &[(&'w str, &[&str])], text: &[u8]) -> Option<&'w str> {
    let is = |spelling: &&str| spelling.as_bytes().eq_ignore_ascii_case(text);
    words.iter().find(|(_, spellings)| spellings.iter().any(is)).map(|&(word, _)| word)
}

/// `a, b and c`, where `conjunction` is `and`.
pub fn listed(words: &[&str], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [all @ .., last] => format!("{} {conjunction} {last}", all.join(", ")),
    }
}
