//! What an operator said about one key of a limiter.

use super::until::Until;

/// Limits that an operator fixed for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As written: it may name policies, which are looked up at each use.
    pub text: Box<str>,
    /// When it ends.
    pub until: Until,
}

/// A key whose every request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it ends.
    pub until: Until,
    /// What the operator said.
    pub reason: Box<[u8]>,
}
