//! Names that users choose.

use std::fmt;

/// The length of the longest label in bytes.
pub const MAX_LABEL: usize = 64;

/// A name that a user chose for a limit or a policy: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
/// Letter case matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Checks a label.
    ///
    /// # Errors
    /// The reason in a few words.
    ///
    /// ```
    /// use floodgate::core::limits::Label;
    ///
    /// assert_eq!(Label::parse(b"gold").unwrap().as_str(), "gold");
    /// assert_eq!(Label::parse(b"a b"), Err("name has characters other than A-Z a-z 0-9 _ . -"));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("name is empty");
        }
        if text.len() > MAX_LABEL {
            return Err("name is longer than 64 characters");
        }
        if !text.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b)) {
            return Err("name has characters other than A-Z a-z 0-9 _ . -");
        }
        Ok(Self(String::from_utf8_lossy(text).into()))
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
