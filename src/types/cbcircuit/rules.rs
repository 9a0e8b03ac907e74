//! Interned breakers: each is kept once, however many keys use it.
//!
//! A text is parsed only the first time. If it comes again, it costs a comparison with the text of
//! the key's breaker, or else one hash look-up. Breakers that no key refers to any more are swept,
//! so a flood of different ones leaves nothing behind.

use crate::core::breaker::Breaker;
use crate::core::text::token::TokenError;
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A counted reference to a breaker. Each breaker has only one, so equal breakers are the same
/// reference. It may be dropped on any thread.
#[derive(Clone, Debug)]
pub struct BreakerRef(Arc<KnownBreaker>);

#[derive(Debug)]
struct KnownBreaker {
    breaker: Breaker,
    canonical: Box<str>,
    /// The text by which a client named it first, if that is not the canonical one.
    alias: OnceLock<Box<[u8]>>,
}

impl BreakerRef {
    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    /// The text that is stored, replicated and shown.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// True if `text` is known to mean this breaker. Nothing is parsed.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.alias.get().is_some_and(|alias| **alias == *text) || self.0.canonical.as_bytes() == text
    }
}

/// The approximate number of breakers that nobody refers to any more and that wait to be swept.
static UNUSED: AtomicUsize = AtomicUsize::new(0);

impl Drop for BreakerRef {
    fn drop(&mut self) {
        // The table has the other reference.
        if Arc::strong_count(&self.0) == 2 {
            UNUSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sweeps if most breakers may be unused. A sweep is otherwise part of interning, and after many
/// keys have gone nobody may intern a breaker.
pub fn sweep_unused(main: MainThread) {
    let unused = UNUSED.load(Ordering::Relaxed);
    if unused < LEAST_SWEEP {
        return;
    }
    with(main, |table| {
        if unused.saturating_mul(2) >= table.by_canonical.len() {
            table.sweep();
        }
    });
}

/// The events that this file listens to: the server's timer tidies the table.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, |ctx| sweep_unused(ctx.main()))];

impl PartialEq for BreakerRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BreakerRef {}

/// The number of breakers, or of spellings, from which on the table is swept.
pub const LEAST_SWEEP: usize = 1024;

#[derive(Debug)]
struct BreakerTable {
    by_canonical: HashMap<Box<str>, BreakerRef>,
    /// Other spellings. This is only a cache: a spelling that is forgotten costs a parse.
    by_alias: HashMap<Box<[u8]>, Weak<KnownBreaker>>,
    sweep_at: usize,
}

static TABLE: MainThreadCell<Option<BreakerTable>> = MainThreadCell::new(None);

fn with<R>(main: MainThread, use_it: impl FnOnce(&mut BreakerTable) -> R) -> R {
    use_it(TABLE.of(main).borrow_mut().get_or_insert_with(|| BreakerTable {
        by_canonical: HashMap::new(),
        by_alias: HashMap::new(),
        sweep_at: LEAST_SWEEP,
    }))
}

/// Finds or parses a breaker. A known text is not parsed.
///
/// # Errors
/// Names the malformed breaker and says why it is refused.
pub fn find(main: MainThread, text: &[u8]) -> Result<BreakerRef, TokenError> {
    with(main, |table| {
        if let Some(known) = table.known(text).filter(|known| known.breaker().can_open()) {
            return Ok(known);
        }
        let rule = table.keep(Breaker::parse(text)?);
        table.remember(text, &rule);
        Ok(rule)
    })
}

/// The same as [`find`], for a text that was stored: an earlier version may have accepted more.
///
/// # Errors
/// The text is malformed.
pub fn find_stored(main: MainThread, text: &[u8]) -> Result<BreakerRef, TokenError> {
    with(main, |table| match table.known(text) {
        Some(known) => Ok(known),
        None => Ok(table.keep(Breaker::parse_stored(text)?)),
    })
}

/// The number of breakers that are in use or wait to be swept.
pub fn size(main: MainThread) -> usize {
    with(main, |table| table.by_canonical.len())
}

/// The number of breakers for which the table has room.
pub fn room(main: MainThread) -> usize {
    with(main, |table| table.by_canonical.capacity())
}

impl BreakerTable {
    fn known(&self, text: &[u8]) -> Option<BreakerRef> {
        let canonical = std::str::from_utf8(text).ok().and_then(|text| self.by_canonical.get(text));
        canonical.cloned().or_else(|| self.by_alias.get(text)?.upgrade().map(BreakerRef))
    }

    /// The one reference of this breaker.
    fn keep(&mut self, breaker: Breaker) -> BreakerRef {
        let canonical: Box<str> = breaker.canonical().into();
        if let Some(known) = self.by_canonical.get(&canonical) {
            return known.clone();
        }
        self.sweep_if_large();
        let rule = BreakerRef(Arc::new(KnownBreaker {
            breaker,
            canonical: canonical.clone(),
            alias: OnceLock::new(),
        }));
        self.by_canonical.insert(canonical, rule.clone());
        rule
    }

    fn remember(&mut self, text: &[u8], rule: &BreakerRef) {
        if rule.canonical().as_bytes() == text {
            return;
        }
        // Only the first spelling is kept with the breaker; for a second this fails.
        let _ = rule.0.alias.set(text.into());
        self.sweep_if_large();
        self.by_alias.insert(text.into(), Arc::downgrade(&rule.0));
    }

    /// Forgets breakers that nobody refers to. Other threads only ever drop references, so a
    /// breaker that looks unused is unused.
    fn sweep_if_large(&mut self) {
        if self.by_canonical.len().max(self.by_alias.len()) < self.sweep_at {
            return;
        }
        self.sweep();
    }

    fn sweep(&mut self) {
        UNUSED.store(0, Ordering::Relaxed);
        self.by_canonical.retain(|_, rule| Arc::strong_count(&rule.0) > 1);
        self.by_alias.retain(|_, known| known.strong_count() > 0);
        self.sweep_at = (self.by_canonical.len() * 2).max(LEAST_SWEEP);
        if self.by_alias.len() >= self.sweep_at {
            self.by_alias.clear();
        }
        self.by_canonical.shrink_to(self.sweep_at);
        self.by_alias.shrink_to(self.sweep_at);
    }
}
