//! The keys that an index knows by name, as commands list them.

use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::ffi::call::OwnedString;
use crate::server::keys::key::ReadKey;
use crate::types::db_key::DbKey;
use crate::types::name_index::NameIndex;
use std::collections::HashMap;
use std::sync::Arc;

/// Entries about keys, each with the name of its key.
pub type ListedKeys<T> = Vec<(Arc<[u8]>, T)>;

/// Looks at the key of each name in an index. `look` gets the key and the time since when it is in the
/// index. It returns whether the index keeps the name, and what it found.
pub fn look_at_each<T>(
    ctx: &Context<'_>,
    names: &'static NameIndex,
    mut look: impl FnMut(&ReadKey<'_>, Micros) -> (bool, Option<T>),
) -> Vec<(DbKey, T)> {
    let mut found = Vec::new();
    names.retain(ctx.main(), |db_key, since| {
        ctx.in_database(db_key.database, || {
            let string = OwnedString::new(ctx, &db_key.name);
            let (keeps, what) = look(&ctx.look(string.arg()), since);
            found.extend(what.map(|what| (db_key.clone(), what)));
            keeps
        })
    });
    found
}

/// Lists each name once: for the key in the context's database if there is one, else for the first
/// key.
pub fn once_a_name<T>(ctx: &Context<'_>, found: Vec<(DbKey, T)>) -> ListedKeys<T> {
    let here = ctx.database();
    let mut shown: HashMap<Arc<[u8]>, i32> = HashMap::new();
    for (DbKey { database, name }, _) in &found {
        let first = shown.entry(Arc::clone(name)).or_insert(*database);
        if *database == here {
            *first = here;
        }
    }
    let listed = found.into_iter().filter(|(key, _)| shown.get(&key.name) == Some(&key.database));
    listed.map(|(key, what)| (key.name, what)).collect()
}
