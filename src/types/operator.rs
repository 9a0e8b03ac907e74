//! What an operator said about one key of a limiter.

use super::until::Lasting;

/// Limits that an operator fixed for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As written: it may name policies, which are looked up at each use.
    pub text: Box<str>,
    /// From when until when.
    pub lasting: Lasting,
}

/// A key whose every request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From when until when.
    pub lasting: Lasting,
    /// What the operator said.
    pub reason: Box<[u8]>,
}
