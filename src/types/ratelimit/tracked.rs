//! Tracked keys: the usage of a key, and the number of keys that have one.

use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::server::keys::keyspace;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of keys with usage on this server. It is atomic, because background threads free
/// values, too.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The setting `track-max`.
static MOST: AtomicUsize = AtomicUsize::new(10_000);

/// A copy of a tracked key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackedCopy {
    /// The copy has the usage of the original.
    Tracked,
    /// There was no room for its usage, which would have ended then.
    Untracked(Micros),
}

/// Set after a tracked key was copied: the key that the server reports next is the copy.
static COPIED: MainThreadCell<Option<TrackedCopy>> = MainThreadCell::new(None);

/// The number of keys that have usage. The setting `track-max` bounds it.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// The most keys that may have usage.
pub fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

/// Sets the most keys that may have usage. Keys that have it keep it.
pub fn set_most(most: usize) {
    MOST.store(most, Ordering::Relaxed);
}

/// True if one more key may have usage.
pub fn has_room() -> bool {
    count() < most()
}

/// Notes that a tracked key is being copied.
pub(in crate::types) fn note_copied(main: MainThread, copy: TrackedCopy) {
    *COPIED.of(main).borrow_mut() = Some(copy);
    keyspace::want_arrivals(main);
}

/// The copy of a tracked key, if the key that the server reports is one. Resets the note.
pub fn take_copied(main: MainThread) -> Option<TrackedCopy> {
    COPIED.of(main).borrow_mut().take()
}

/// The usage of a key. It is counted while it lives.
#[derive(Debug)]
pub struct Tracked(Box<UsageSeries>);

impl Tracked {
    /// Makes the usage of a key, and counts the key.
    pub fn new(usage: UsageSeries) -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self(Box::new(usage))
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Self::new((*self.0).clone())
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for Tracked {
    type Target = UsageSeries;
    fn deref(&self) -> &UsageSeries {
        &self.0
    }
}

impl DerefMut for Tracked {
    fn deref_mut(&mut self) -> &mut UsageSeries {
        &mut self.0
    }
}
