//! Which key names have a line: an answer that costs next to nothing.
//!
//! While anybody waits anywhere, every command asks it of its key, so it must
//! not allocate, lock or hash carefully. It may say "perhaps" too often, never
//! too seldom; who may then looks properly.

use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU8, Ordering};

/// With the most lines that a server has by default, one name in 27 is a
/// "perhaps" without a line.
const SLOTS: usize = 1 << 18;
/// A slot that was ever so full stays a "perhaps": nobody counts that far.
const FULL: u8 = u8::MAX;

/// How many lines have names that fall into each slot. Pages that nobody
/// touches take no memory.
static LINES: [AtomicU8; SLOTS] = [const { AtomicU8::new(0) }; SLOTS];

#[inline]
fn slot(name: &[u8]) -> Option<&'static AtomicU8> {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    // Its lowest bits are its best.
    LINES.get(usize::try_from(hasher.finish()).unwrap_or(0) % SLOTS)
}

/// False when no key of this name has a line, in any database.
#[inline]
pub fn perhaps(name: &[u8]) -> bool {
    slot(name).is_some_and(|lines| lines.load(Ordering::Relaxed) > 0)
}

/// One more key of this name has a line.
pub fn add(name: &[u8]) {
    change(name, |lines| lines.checked_add(1));
}

/// One of those that [`add`] counted has a line no more.
pub fn remove(name: &[u8]) {
    change(name, |lines| if lines == FULL { None } else { lines.checked_sub(1) });
}

fn change(name: &[u8], to: impl FnMut(u8) -> Option<u8>) {
    if let Some(lines) = slot(name) {
        // `None` leaves it as it is.
        let _ = lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to);
    }
}
