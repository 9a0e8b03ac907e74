//! Breakers, kept once however many keys use them.
//!
//! A text that comes again costs a comparison with the text that the key's
//! breaker came from, else one hash lookup; it is parsed only the first time.
//! Breakers that no key refers to any more are swept, so a flood of different
//! ones leaves nothing behind.

use crate::core::breaker::Breaker;
use crate::core::text::token::TokenError;
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A counted reference to a breaker. There is one for each breaker, so equal
/// breakers are the same reference. May be dropped on any thread.
#[derive(Clone, Debug)]
pub struct BreakerRef(Arc<KnownBreaker>);

#[derive(Debug)]
struct KnownBreaker {
    breaker: Breaker,
    canonical: Box<str>,
    /// What a client wrote for it first, where that was something else.
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

    /// True when `text` is known to mean this breaker, without parsing it.
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.alias.get().is_some_and(|alias| **alias == *text) || self.0.canonical.as_bytes() == text
    }
}

/// How many breakers nobody refers to any more, roughly: they wait to be swept.
static UNUSED: AtomicUsize = AtomicUsize::new(0);

impl Drop for BreakerRef {
    fn drop(&mut self) {
        // The table has the other one.
        if Arc::strong_count(&self.0) == 2 {
            UNUSED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sweeps where most breakers may be unused: after keys have gone nobody may ask for
/// new ones.
pub fn tidy(main: MainThread) {
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

/// The server's timer tidies.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, |ctx| tidy(ctx.main()))];

impl PartialEq for BreakerRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for BreakerRef {}

/// Sweeping starts at so many breakers or spellings.
const LEAST_SWEEP: usize = 1024;

#[derive(Debug)]
struct BreakerTable {
    by_canonical: HashMap<Box<str>, BreakerRef>,
    /// Other spellings. Only a cache: forgetting one costs a parse.
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

/// Reads a breaker; a known text is not parsed.
///
/// # Errors
/// The malformed breaker and why.
pub fn find(main: MainThread, text: &[u8]) -> Result<BreakerRef, TokenError> {
    with(main, |table| {
        if let Some(known) = table.known(text) {
            return Ok(known);
        }
        let rule = table.keep(Breaker::parse(text)?);
        table.remember(text, &rule);
        Ok(rule)
    })
}

/// The number of breakers in use or waiting to be swept.
pub fn size(main: MainThread) -> usize {
    with(main, |table| table.by_canonical.len())
}

impl BreakerTable {
    fn known(&self, text: &[u8]) -> Option<BreakerRef> {
        let canonical = std::str::from_utf8(text).ok().and_then(|text| self.by_canonical.get(text));
        canonical.cloned().or_else(|| self.by_alias.get(text)?.upgrade().map(BreakerRef))
    }

    /// The one reference for this breaker.
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
        // Only the first spelling is kept with the breaker; that fails for a second.
        let _ = rule.0.alias.set(text.into());
        self.sweep_if_large();
        self.by_alias.insert(text.into(), Arc::downgrade(&rule.0));
    }

    /// Forgets what nobody refers to. Other threads only ever drop references,
    /// so a breaker that looks unused is.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::main_thread::StandIn;

    #[test]
    fn equal_breakers_are_one_and_unused_ones_are_swept() {
        let alone = StandIn::enter();
        let main = alone.main();
        let kept = find(main, b"50%/60s").unwrap_or_else(|e| unreachable!("{e}"));
        assert_eq!(find(main, b"50%/1m").ok().as_ref(), Some(&kept));
        assert_eq!(find(main, b"50%/60000ms").ok().as_ref(), Some(&kept));
        assert!(kept.is(b"50%/60s") && kept.is(b"50%/1m") && !kept.is(b"51%/1m"));
        for n in 1..5000 {
            assert!(find(main, format!("{n}/61s").as_bytes()).is_ok());
            assert!(find(main, format!("50%/60s:min={n:09}").as_bytes()).is_ok());
        }
        assert!(size(main) <= LEAST_SWEEP);
        assert_eq!(find(main, b"50%/1m").ok().as_ref(), Some(&kept));
    }

    #[test]
    fn the_table_shrinks_when_its_keys_have_gone() {
        let alone = StandIn::enter();
        let main = alone.main();
        let room = || with(main, |table| table.by_canonical.capacity());
        let texts = (1..20_000).map(|n| format!("{n}/62s"));
        let held: Vec<_> = texts.filter_map(|text| find(main, text.as_bytes()).ok()).collect();
        assert!(held.len() == 19_999 && size(main) >= 19_999 && room() >= 19_999);
        drop(held);
        tidy(main);
        assert!(size(main) <= LEAST_SWEEP && room() <= 4 * LEAST_SWEEP, "{} {}", size(main), room());
    }
}
