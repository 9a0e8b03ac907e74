//! The table of interned limits: it is searched by text, and swept of sets that nobody uses.

use super::interned_limits::InternedLimits;
use super::limits_ref::{UNUSED, count};
use crate::core::limits::{Limit, Limits};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// The number of sets whose texts are compared before a text is hashed.
const RECENT: usize = 4;
/// The most texts that are remembered for one set.
const MOST_ALIASES: usize = 8;
/// The least number of sets from which on the table is swept.
pub(super) const LEAST_SWEEP: usize = 1024;

#[derive(Debug)]
pub(super) struct InternTable {
    /// The sets are boxed, so that the room of swept ones is small if a late one stays.
    sets: Vec<Option<Box<InternedLimits>>>,
    free: Vec<u32>,
    by_text: Option<HashMap<Box<[u8]>, u32>>,
    /// The sets that were looked up lately. One may be gone, and its number may be another set's.
    recent: Cell<[u32; RECENT]>,
    sweep_at: usize,
    nothing: OnceLock<InternedLimits>,
}

impl InternTable {
    /// A table without sets.
    pub(super) const fn new() -> Self {
        Self {
            sets: Vec::new(),
            free: Vec::new(),
            by_text: None,
            recent: Cell::new([0; RECENT]),
            sweep_at: LEAST_SWEEP,
            nothing: OnceLock::new(),
        }
    }

    /// The set with this number, to which some reference must live.
    #[inline]
    pub(super) fn get(&self, id: u32) -> &InternedLimits {
        match self.sets.get(id as usize) {
            Some(Some(set)) => set,
            // A live reference keeps its set, so this cannot happen. A stand-in is still better than a
            // crash.
            _ => self.nothing.get_or_init(|| {
                InternedLimits::new(Limits::from(Limit::unlimited()), None, "unlimited".into())
            }),
        }
    }

    /// The number of sets that are in use or wait to be swept.
    pub(super) fn size(&self) -> usize {
        self.sets.len() - self.free.len()
    }

    /// Keeps a set whose canonical text is not known. Returns its number, to which nobody refers yet.
    pub(super) fn put(&mut self, set: InternedLimits) -> u32 {
        if self.size() >= self.sweep_at {
            self.sweep();
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.sets.push(None);
            u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_text.get_or_insert_default().insert(set.canonical.as_bytes().into(), id);
        if let Some(slot) = self.sets.get_mut(id as usize) {
            *slot = Some(Box::new(set));
            UNUSED.fetch_add(1, Ordering::Relaxed);
        }
        id
    }

    /// The set that has this text, and its number.
    pub(super) fn known(&self, text: &[u8]) -> Option<(u32, &InternedLimits)> {
        let set_of = |id: u32| self.sets.get(id as usize)?.as_deref();
        let recent = self.recent.get();
        let is_it = |&id: &u32| set_of(id).filter(|set| set.has(text)).map(|set| (id, set));
        if let Some(found) = recent.iter().find_map(is_it) {
            return Some(found);
        }
        let found = self.by_text.as_ref()?.get(text).copied()?;
        let [first, second, third, _] = recent;
        self.recent.set([found, first, second, third]);
        Some((found, set_of(found)?))
    }

    /// Remembers that `text` means the set with this number, in place of the oldest of too many texts.
    pub(super) fn remember(&mut self, text: &[u8], id: u32) {
        let Some(Some(set)) = self.sets.get_mut(id as usize) else { return };
        if set.canonical.as_bytes() == text {
            return;
        }
        let dropped = (set.aliases.len() >= MOST_ALIASES).then(|| set.aliases.remove(0));
        set.aliases.push(text.into());
        let by_text = self.by_text.get_or_insert_default();
        if let Some(dropped) = dropped {
            by_text.remove(&dropped);
        }
        by_text.insert(text.into(), id);
    }

    /// Sweeps if most sets are unused.
    pub(super) fn sweep_if_unused(&mut self, unused: usize) {
        if unused.saturating_mul(2) >= self.size() {
            self.sweep();
        }
    }

    /// Forgets the sets that nobody refers to, and their texts.
    fn sweep(&mut self) {
        let by_text = self.by_text.get_or_insert_default();
        let mut swept = 0;
        for (id, slot) in (0u32..).zip(self.sets.iter_mut()) {
            let unused = count(id).is_some_and(|count| count.load(Ordering::Acquire) == 0);
            if let Some(set) = slot.take_if(|_| unused) {
                by_text.remove(set.canonical.as_bytes());
                for alias in &set.aliases {
                    by_text.remove(alias);
                }
                swept += 1;
            }
        }
        UNUSED.fetch_sub(swept, Ordering::Relaxed);
        while self.sets.pop_if(|last| last.is_none()).is_some() {}
        self.free.clear();
        self.free.extend((0u32..).zip(&self.sets).filter(|(_, slot)| slot.is_none()).map(|(id, _)| id));
        by_text.shrink_to(by_text.len().max(LEAST_SWEEP) * 2);
        self.sweep_at = (self.size() * 2).max(LEAST_SWEEP);
        self.sets.shrink_to(self.sets.len().max(LEAST_SWEEP) * 2);
        self.free.shrink_to(self.free.len().max(LEAST_SWEEP) * 2);
    }

    /// The number of sets and texts that there is room for.
    pub(super) fn room(&self) -> usize {
        self.sets.capacity() + self.free.capacity() + self.by_text.as_ref().map_or(0, HashMap::capacity)
    }
}
