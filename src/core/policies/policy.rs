//! A policy, and the reasons for which one is refused.

use crate::core::breaker::Breaker;
use crate::core::limits::{Label, Limits};
use crate::core::text::prefix::MAX_PREFIX;
use crate::core::text::token::{TokenError, shown};
use crate::core::wire::{Corrupt, Reader, put_bytes};

/// The longest text of limits or a breaker, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Limits, and perhaps a breaker, under a name that an operator chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name.
    pub name: Label,
    /// The limits as they were written. They name no other policy.
    pub text: Box<str>,
    /// The parsed limits.
    pub limits: Limits,
    /// The prefix of the keys that follow the policy without naming it, unless a later policy has
    /// the same prefix (see [`super::Policies::prefix_of`]). The empty prefix matches every key.
    pub prefix: Option<Box<[u8]>>,
    /// The breaker as it was written, and the parsed breaker.
    pub breaker: Option<(Box<str>, Breaker)>,
}

/// The reason for which a policy, or a change of the table, is refused. The text is for the client,
/// without the error's code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// The limits, the breaker or the name are malformed.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The prefix is too long.
    #[error("invalid prefix '{0}': longer than {MAX_PREFIX} bytes")]
    PrefixTooLong(String),
    /// The prefix ends with `*`, as a glob pattern would.
    #[error("invalid prefix '{0}': a prefix is literal, leave out the '*' at its end")]
    PrefixGlob(String),
    /// Another policy has this prefix.
    #[error("invalid prefix '{prefix}': it is the prefix of policy '{owner}' already")]
    PrefixTaken {
        /// The prefix that is taken.
        prefix: String,
        /// The policy that has it.
        owner: Label,
    },
    /// An import without REPLACE names a policy that exists.
    #[error("a policy has this name already, REPLACE replaces it")]
    Exists,
    /// An import names a policy twice.
    #[error("the document names it twice")]
    Twice,
}

impl Policy {
    /// Parses the parts of a policy.
    ///
    /// # Errors
    /// [`PolicyRefused`] for the part that is malformed.
    pub fn parse(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<&[u8]>,
    ) -> Result<Self, PolicyRefused> {
        if let Some(prefix) = prefix.filter(|prefix| prefix.ends_with(b"*")) {
            return Err(PolicyRefused::PrefixGlob(shown(prefix)));
        }
        let breaker =
            breaker.map(|text| Breaker::parse(text).map(|breaker| (printable(text), breaker))).transpose()?;
        Self::from_parts(name, limits, prefix, breaker)
    }

    /// Parses the parts of a policy that was stored, perhaps by version 0.1. There the durations of
    /// a breaker needed no unit and were milliseconds. The second value is true if one had no unit.
    ///
    /// # Errors
    /// The same as [`Policy::parse`].
    pub fn parse_stored(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<&[u8]>,
    ) -> Result<(Self, bool), PolicyRefused> {
        let mut unitless = false;
        let mut read = |text: &[u8]| {
            let parsed = Breaker::parse_stored(text)?;
            let text = printable(text);
            // If every duration has a unit, the text stays as it was written.
            let with_units = Breaker::with_units(&text).into_boxed_str();
            unitless = with_units != text;
            Ok::<_, TokenError>((with_units, parsed))
        };
        let breaker = breaker.map(&mut read).transpose()?;
        Ok((Self::from_parts(name, limits, prefix, breaker)?, unitless))
    }

    fn from_parts(
        name: &[u8],
        limits: &[u8],
        prefix: Option<&[u8]>,
        breaker: Option<(Box<str>, Breaker)>,
    ) -> Result<Self, PolicyRefused> {
        let label = Label::parse(name).map_err(|reason| TokenError::new("policy name", name, reason))?;
        let parsed = Limits::parse(limits)?;
        if let Some(prefix) = prefix.filter(|prefix| prefix.len() > MAX_PREFIX) {
            return Err(PolicyRefused::PrefixTooLong(shown(prefix)));
        }
        Ok(Self {
            name: label,
            text: printable(limits),
            limits: parsed,
            prefix: prefix.map(Into::into),
            breaker,
        })
    }
}

/// The parts of a policy as bytes. Not every version may be able to parse them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyParts<'a> {
    limits: &'a [u8],
    prefix: Option<&'a [u8]>,
    breaker: Option<&'a [u8]>,
}

impl<'a> PolicyParts<'a> {
    pub(crate) fn read(rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self {
            limits: rest.bytes(LONGEST_TEXT)?,
            prefix: read_optional(rest, MAX_PREFIX)?,
            breaker: read_optional(rest, LONGEST_TEXT)?,
        })
    }

    /// The same as [`Policy::parse_stored`], with these parts.
    pub(crate) fn parse(&self, name: &[u8]) -> Result<(Policy, bool), PolicyRefused> {
        Policy::parse_stored(name, self.limits, self.prefix, self.breaker)
    }
}

impl Policy {
    /// Appends everything except the name. Equal policies give equal bytes.
    pub(in crate::core) fn put_parts(&self, prefix: Option<&[u8]>, out: &mut Vec<u8>) {
        put_bytes(out, self.text.as_bytes());
        put_optional(out, prefix);
        put_optional(out, self.breaker.as_ref().map(|(text, _)| text.as_bytes()));
    }
}

fn put_optional(out: &mut Vec<u8>, part: Option<&[u8]>) {
    out.push(part.is_some().into());
    if let Some(part) = part {
        put_bytes(out, part);
    }
}

fn read_optional<'a>(rest: &mut Reader<'a>, longest: usize) -> Result<Option<&'a [u8]>, Corrupt> {
    match rest.byte()? {
        0 => Ok(None),
        1 => rest.bytes(longest).map(Some),
        _ => Err(Corrupt("a mark other than 0 and 1")),
    }
}

/// A token as text. It was parsed, so it is printable ASCII.
fn printable(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text).into()
}
