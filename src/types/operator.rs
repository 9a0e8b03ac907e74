//! What an operator said about one key of a limiter, and of which keys operators said
//! something.

use super::name_index::NameIndex;
use super::until::Lasting;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;

/// The keys that an operator blocked.
pub static BLOCKED: NameIndex = NameIndex::new();

/// The keys whose limits, or whose breaker, an operator fixed.
pub static PINNED: NameIndex = NameIndex::new();

/// Takes note of what others did to keys.
pub fn happened(main: MainThread, what: KeyspaceChange<'_>) {
    BLOCKED.happened(main, what);
    PINNED.happened(main, what);
}

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
