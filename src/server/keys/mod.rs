//! Keys, the native types that they hold, and what happens to them.

pub mod data_type;
pub mod key;
pub mod keyspace;
pub(in crate::server) mod left_database;
pub(in crate::server) mod notifications;
pub mod tagged_box;
