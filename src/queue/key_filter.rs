//! Which key names have a queue: an answer that costs a few instructions.
//!
//! **Optimisation.** While anybody waits anywhere, every command asks whether a queue
//! stands for its key. The plain version looks the key up among the queues, which
//! allocates its name. The filter may answer "perhaps" for a key without a queue; it
//! never answers "no" for a key with one. `tests/server/waiting_model.rs` holds it to
//! the plain answer.

use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU16, Ordering};

/// With the most lines that a server has by default, one name in 300 is a
/// "perhaps" without a line.
const SLOTS: usize = 1 << 17;

/// The lines whose names fall into each slot: how many, and the marks of their
/// names together (`^`). Pages that nobody touches take no memory.
static LINES: [AtomicU16; SLOTS] = [const { AtomicU16::new(0) }; SLOTS];

/// What a slot says.
#[derive(Clone, Copy)]
struct SlotCount {
    /// Once at its greatest it stays: nobody counts that far.
    count: u8,
    /// Of a single line it is the mark of its name.
    marks: u8,
}

impl SlotCount {
    #[inline]
    const fn of(slot: u16) -> Self {
        let [count, marks] = slot.to_be_bytes();
        Self { count, marks }
    }

    const fn slot(self) -> u16 {
        u16::from_be_bytes([self.count, self.marks])
    }
}

/// Where a name falls, and its mark.
#[inline]
fn find(name: &[u8]) -> Option<(&'static AtomicU16, u8)> {
    let mut hasher = FxHasher::default();
    hasher.write(name);
    // Its lowest 26 bits are its best.
    let hash = usize::try_from(hasher.finish()).unwrap_or(0);
    let [mark, ..] = (hash / SLOTS).to_le_bytes();
    Some((LINES.get(hash % SLOTS)?, mark))
}

/// False when no key of this name has a line, in any database.
#[inline]
pub fn perhaps(name: &[u8]) -> bool {
    find(name).is_some_and(|(slot, mark)| {
        let lines = SlotCount::of(slot.load(Ordering::Relaxed));
        lines.count > 1 || lines.count == 1 && lines.marks == mark
    })
}

/// One more key of this name has a line.
pub fn add(name: &[u8]) {
    change(name, |count| count.checked_add(1));
}

/// One of those that [`add`] counted has a line no more.
pub fn remove(name: &[u8]) {
    change(name, |count| if count == u8::MAX { None } else { count.checked_sub(1) });
}

fn change(name: &[u8], to: impl Fn(u8) -> Option<u8>) {
    let Some((slot, mark)) = find(name) else { return };
    let lines = SlotCount::of(slot.load(Ordering::Relaxed));
    if let Some(count) = to(lines.count) {
        slot.store(SlotCount { count, marks: lines.marks ^ mark }.slot(), Ordering::Relaxed);
    }
}
