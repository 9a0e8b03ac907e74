//! Which key names have a line: an answer that costs next to nothing.
//!
//! While anybody waits anywhere, every command asks it of its key, so it must
//! not allocate, lock or hash carefully. It may say "perhaps" too often, never
//! too seldom; who may then looks properly.

use std::sync::atomic::{AtomicU32, Ordering};

const SLOTS: usize = 1 << 16;

/// How many waiters have names that fall into each slot. Pages that nobody
/// touches take no memory.
static WAITERS: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];

#[inline]
fn slot(name: &[u8]) -> Option<&'static AtomicU32> {
    let mut mixed = name.len() as u64;
    for chunk in name.chunks(8) {
        let word = chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        mixed = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
    }
    let index = usize::try_from(mixed >> 20).unwrap_or(0) % SLOTS;
    WAITERS.get(index)
}

/// False when nobody waits on a key of this name, in any database.
#[inline]
pub fn perhaps(name: &[u8]) -> bool {
    slot(name).is_some_and(|waiters| waiters.load(Ordering::Relaxed) > 0)
}

/// One more waits on a key of this name.
pub fn add(name: &[u8]) {
    if let Some(waiters) = slot(name) {
        waiters.fetch_add(1, Ordering::Relaxed);
    }
}

/// One of those that [`add`] counted waits no more.
pub fn remove(name: &[u8]) {
    if let Some(waiters) = slot(name) {
        waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
