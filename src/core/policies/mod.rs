//! Policies: limits by name and by prefix. Each server keeps a table of them. In a cluster it is
//! the same on every master.
//!
//! | file | idea |
//! |---|---|
//! | [`policy`] | what a policy is |
//! | [`version`] | which of two changes is later |
//! | [`change`] | what a name stands for since its last change |
//! | [`table`] | the table: every change of it, and which policy has which prefix |
//! | [`message`] | the messages between the masters of a cluster |
//!
//! Outside `core`, [`crate::types::effect::policy`] holds how a change travels to replicas, RDB and
//! AOF, [`crate::types::policies::json`] holds export and import, and
//! [`crate::types::policies::node`] holds the one table of this server.
//!
//! The table is plain data. A change is checked first and then applied as a whole. Two tables that
//! have seen the same changes are equal, in whatever order and however often they saw them: for
//! each name, the later change wins.

pub mod change;
pub mod message;
pub mod policy;
pub mod table;
pub mod version;

pub use change::{PolicyEntry, PolicyState};
pub use policy::{Policy, PolicyRefused};
pub use table::Policies;
pub use version::{ChangedBy, NodeId, PolicyVersion};
