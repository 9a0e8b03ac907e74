//! Keys, the native types that they hold, and the events of both.

pub mod data_type;
pub mod key;
pub mod keyspace;
pub mod left_database;
pub(in crate::server) mod modified;
pub(in crate::server) mod notifications;
mod queued_copies;
pub mod tagged_box;
