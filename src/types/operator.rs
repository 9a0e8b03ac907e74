//! What an operator set on one key of a limiter.

use super::until::Validity;

/// Limits that an operator fixed for the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The limits as the operator wrote them. They may name policies, which are looked up at each
    /// use.
    pub text: Box<str>,
    /// The time in which the pin holds.
    pub validity: Validity,
}

/// An operator's denial of every request on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The time in which the block holds.
    pub validity: Validity,
    /// The operator's reason.
    pub reason: Box<[u8]>,
}
