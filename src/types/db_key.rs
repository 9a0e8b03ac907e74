//! A key by its database and its name, as what is kept outside the keyspace refers to it.

use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use std::sync::Arc;

/// A key by its database and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbKey {
    /// The number of the database.
    pub database: i32,
    /// The name.
    pub name: Arc<[u8]>,
}

impl DbKey {
    /// The key of this name in this database.
    pub fn new(database: i32, name: &[u8]) -> Self {
        Self { database, name: name.into() }
    }

    /// The key of this name in the caller's database.
    pub fn of(ctx: &Context<'_>, name: Arg<'_>) -> Self {
        Self::new(ctx.database(), name.bytes())
    }
}
