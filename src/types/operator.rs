//! What an operator set on one key of a limiter, and the keys on which operators set something.

use super::name_index::NameIndex;
use super::until::Validity;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;

/// The keys that an operator blocked.
pub static BLOCKED: NameIndex = NameIndex::new();

/// The keys whose limits, or whose breaker, an operator fixed.
pub static PINNED: NameIndex = NameIndex::new();

/// Notes a change that others made to keys.
pub fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    BLOCKED.on_keyspace_change(main, what);
    PINNED.on_keyspace_change(main, what);
}

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
