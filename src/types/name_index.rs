//! Indexes of the keys in some state, by name, in bounded memory. They follow renames.
//!
//! A key is noted when it comes into the state, on masters and replicas, and when it is loaded. The
//! server reports when the key's value leaves it. The name that it reports next is the one that the
//! value went to, or was copied to. Between a copy and that name it may report that the value which
//! the copy replaces leaves. A server may not report enough, so a key may be noted that is not in
//! the state: whoever uses the index looks at the key itself.

use crate::core::time::Micros;
use crate::server::keys::keyspace::{self, KeyspaceChange};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::db_key::DbKey;
use std::collections::BTreeMap;

/// The most names that are remembered. If there are more such keys, some are missing.
pub const MOST: usize = 1000;

/// The keys in one state, each with the time since when.
#[derive(Debug)]
pub struct NameIndex(MainThreadCell<Names>);

#[derive(Debug)]
struct Names {
    known: BTreeMap<DbKey, Micros>,
    /// The time since when the value that left its key last was in the state.
    left: Option<Micros>,
    /// The time since when a value is in the state that was copied or loaded, until the server
    /// reports its key.
    comes: Option<Micros>,
}

/// The keys of open, half-open and forced circuits.
pub static NOT_CLOSED: NameIndex = NameIndex::new();

/// The keys that an operator blocked.
pub static BLOCKED: NameIndex = NameIndex::new();

/// The keys whose limits, or whose breaker, an operator fixed.
pub static PINNED: NameIndex = NameIndex::new();

/// Notes in every index a change that others made to keys.
pub fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    for index in [&NOT_CLOSED, &BLOCKED, &PINNED] {
        index.on_keyspace_change(main, what);
    }
}

impl NameIndex {
    /// An index without keys.
    const fn new() -> Self {
        Self(MainThreadCell::new(Names { known: BTreeMap::new(), left: None, comes: None }))
    }

    /// Notes whether this key is in the state. If it is, it has come into it at `since` or before.
    pub fn set(&'static self, main: MainThread, (database, name): (i32, &[u8]), is: bool, since: Micros) {
        let mut names = self.0.of(main).borrow_mut();
        if is {
            names.note(DbKey::new(database, name), since);
        } else if !names.known.is_empty() {
            names.known.remove(&DbKey::new(database, name));
        }
    }

    /// Notes that a value in the state was loaded, for this key if the server tells its database.
    pub fn loaded(&'static self, main: MainThread, database: Option<i32>, name: &[u8], since: Micros) {
        match database {
            Some(database) => self.set(main, (database, name), true, since),
            None => self.comes(main, since),
        }
    }

    /// Notes that a value in the state is about to get a key, which the server will report.
    pub fn comes(&'static self, main: MainThread, since: Micros) {
        self.0.of(main).borrow_mut().comes = Some(since);
        keyspace::want_arrivals(main);
    }

    fn on_keyspace_change(&'static self, main: MainThread, what: KeyspaceChange<'_>) {
        let mut names = self.0.of(main).borrow_mut();
        match what {
            KeyspaceChange::ValueLeft { name, database } => {
                names.left(name.bytes(), database);
                if names.left.is_some() {
                    keyspace::want_arrivals(main);
                }
            }
            KeyspaceChange::Arrived { name, database } => {
                let left = names.left.take();
                if let Some(since) = names.comes.take().or(left) {
                    names.note(DbKey::new(database, name.bytes()), since);
                }
            }
            KeyspaceChange::ToDatabase(database) => names.known.retain(|key, _| key.database != database),
            KeyspaceChange::ToAll => names.known.clear(),
            KeyspaceChange::Swapped(one, other) => {
                let swapped = |(key, since): (DbKey, Micros)| {
                    let database = match key.database {
                        database if database == one => other,
                        database if database == other => one,
                        database => database,
                    };
                    (DbKey { database, ..key }, since)
                };
                names.known = std::mem::take(&mut names.known).into_iter().map(swapped).collect();
            }
            KeyspaceChange::ValueChanged { .. } | KeyspaceChange::FlushBegins => {}
        }
    }

    /// Calls `is_one` for each key, and forgets those for which it returns false.
    pub fn retain(&'static self, main: MainThread, mut is_one: impl FnMut(&DbKey, Micros) -> bool) {
        // The names are taken out, because looking at a key may make it expire, which is reported
        // here.
        let mut known = std::mem::take(&mut self.0.of(main).borrow_mut().known);
        known.retain(|key, since| is_one(key, *since));
        self.0.of(main).borrow_mut().known.append(&mut known);
    }

    /// True if no key is noted.
    pub fn is_empty(&'static self, main: MainThread) -> bool {
        self.0.of(main).borrow().known.is_empty()
    }

    /// True if there will be no room for another key soon.
    pub fn is_half_full(&'static self, main: MainThread) -> bool {
        self.0.of(main).borrow().known.len() >= MOST / 2
    }

    /// True if there is no room for another key.
    pub fn is_full(&'static self, main: MainThread) -> bool {
        self.0.of(main).borrow().known.len() >= MOST
    }
}

impl Names {
    fn note(&mut self, key: DbKey, since: Micros) {
        if self.known.len() < MOST {
            self.known.entry(key).or_insert(since);
        }
    }

    fn left(&mut self, name: &[u8], database: Option<i32>) {
        if self.known.is_empty() {
            self.left = None;
            return;
        }
        self.left = match database {
            Some(database) => self.known.remove(&DbKey::new(database, name)),
            // The same name may be in the state in another database, so it stays.
            None => self.known.iter().find(|(key, _)| *key.name == *name).map(|(_, since)| *since),
        };
    }
}
