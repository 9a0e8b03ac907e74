//! The usage of one key, and how many keys have any.

use crate::core::usage::UsageSeries;
use crate::server::keys::keyspace;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys with usage on this node. Values are freed on background threads too.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The setting `track-max`.
static MOST: AtomicUsize = AtomicUsize::new(10_000);

/// A tracked key was copied: the key that the server tells next is the copy.
static COPIED: MainThreadCell<bool> = MainThreadCell::new(false);

/// How many keys have usage: what `track-max` bounds.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}

/// The most keys that may have usage.
pub fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

/// Lets so many keys have usage. Those that have it keep it.
pub fn set_most(most: usize) {
    MOST.store(most, Ordering::Relaxed);
}

/// Whether one key more may have usage.
pub fn has_room() -> bool {
    count() < most()
}

/// Takes note that a tracked key is being copied.
pub(in crate::types) fn note_copied(main: MainThread) {
    *COPIED.of(main).borrow_mut() = true;
    keyspace::want_arrivals(main);
}

/// Whether the key that the server tells of is the copy of a tracked key.
pub fn take_copied(main: MainThread) -> bool {
    std::mem::take(&mut COPIED.of(main).borrow_mut())
}

/// A key's usage; counted while it lives.
#[derive(Debug)]
pub struct Tracked(Box<UsageSeries>);

impl Tracked {
    /// Counts one key more.
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
