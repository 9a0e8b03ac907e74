//! A `limits` argument whose text has been parsed.

use super::label::Label;
use super::limit::Limit;

/// One entry of a `limits` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `@name`: the limits of the policy of this name.
    Policy(Label),
    /// A limit that is written out.
    Limit(Limit),
}

/// A `limits` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `*`: the limits that the server has for the key.
    ServerChosen,
    /// 1 to 8 policies and limits, all of which must grant.
    Terms(Vec<Term>),
}
