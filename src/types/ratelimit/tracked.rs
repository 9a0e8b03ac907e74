//! The usage of one key, and how many keys have any.

use crate::core::usage::UsageSeries;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys with usage on this node. Values are freed on background threads too.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// How many keys have usage: what `track-max` bounds.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
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
