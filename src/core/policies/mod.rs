//! Policies: limits by name and by prefix, kept by the node, and in a cluster the same
//! on every master.
//!
//! | file | idea |
//! |---|---|
//! | [`policy`] | what a policy is |
//! | [`version`] | which of two changes is the later |
//! | [`change`] | what a name stands for, and which of two such is the later |
//! | [`table`] | the table: every change of it, and who has which prefix |
//! | [`message`] | what masters of a cluster tell each other |
//! | [`mod@bytes`] | small parts of the encodings |
//!
//! Outside of `core`: [`crate::types::effect::policy`] is how a change travels to
//! replicas, RDB and AOF; [`crate::types::policies::json`] export and import;
//! [`crate::types::policies::node`] the one table of this node.
//!
//! The table is plain data: a change is checked first and applied as a whole. Two
//! tables that have seen the same changes, in whatever order and however often, are
//! equal: name by name the later change wins.

pub mod bytes;
pub mod change;
pub mod message;
pub mod policy;
pub mod table;
pub mod version;

pub use change::{PolicyEntry, PolicyState};
pub use policy::{Policy, PolicyRefused};
pub use table::Policies;
pub use version::{ChangedBy, NodeId, PolicyVersion};
