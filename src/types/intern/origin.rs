//! Where a key's limits came from.

use crate::core::limits::{Expression, Label, Term};

/// The origin of a key's limits, if they are not written out. By the origin the present limits can
/// be looked up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A text that names policies, as a call or a pin gives it.
    Named(Box<str>),
    /// The policy whose prefix the key has.
    Followed(Label),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(text) => f.write_str(text),
            Self::Followed(name) => write!(f, "*@{name}"),
        }
    }
}

impl Origin {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("*@") {
            return Label::parse(name.as_bytes()).ok().map(Self::Followed);
        }
        match Expression::parse(text.as_bytes()) {
            Ok(Expression::Terms(terms)) if terms.iter().any(|term| matches!(term, Term::Policy(_))) => {
                Some(Self::Named(text.into()))
            }
            _ => None,
        }
    }
}
