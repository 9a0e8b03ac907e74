//! References to interned limits. They are counted, so that it is known which sets nobody uses.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// A counted reference to an [`InternedLimits`](super::InternedLimits). It may be dropped on any thread.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitsRef(u32);

const SEGMENT: usize = 1024;
const SEGMENTS: usize = 65_536;

/// The number of references to each set. It is kept apart from the sets: a background thread that
/// frees keys may drop a reference, but must not touch the table.
static COUNTS: [OnceLock<Box<[AtomicU32; SEGMENT]>>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];

pub(super) fn count(id: u32) -> Option<&'static AtomicU32> {
    let id = id as usize;
    let segment = COUNTS.get(id / SEGMENT)?.get_or_init(|| Box::new([const { AtomicU32::new(0) }; SEGMENT]));
    segment.get(id % SEGMENT)
}

/// The number of sets that nobody refers to and that wait to be swept. A background thread may
/// count a set in just after the main thread has counted it out, so it can be below 0 for a moment.
pub(super) static UNUSED: AtomicI64 = AtomicI64::new(0);

impl LimitsRef {
    /// One more reference to the set with this number.
    pub(in crate::types) fn new(id: u32) -> Self {
        if let Some(count) = count(id)
            && count.fetch_add(1, Ordering::Relaxed) == 0
        {
            UNUSED.fetch_sub(1, Ordering::Relaxed);
        }
        Self(id)
    }

    /// The number of the set, without dropping the count. The smallest shape stores it.
    pub(in crate::types) fn into_id(self) -> u32 {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Makes a reference again of a number that [`LimitsRef::into_id`] returned.
    pub(in crate::types) const fn from_id(id: u32) -> Self {
        Self(id)
    }

    /// The number of the set.
    pub const fn id(&self) -> u32 {
        self.0
    }
}

impl Clone for LimitsRef {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for LimitsRef {
    fn drop(&mut self) {
        if let Some(count) = count(self.0)
            && count.fetch_sub(1, Ordering::Release) == 1
        {
            UNUSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
