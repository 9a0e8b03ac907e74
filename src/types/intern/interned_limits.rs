//! One set of limits, which is kept once for all keys that use it.

use super::origin::Origin;
use crate::core::limits::{Limit, Limits};
use std::cell::OnceCell;
use std::rc::Rc;

/// One set of limits, and the texts that are known to mean it.
#[derive(Debug)]
pub struct InternedLimits {
    limits: Limits,
    origin: Option<Origin>,
    pub(super) canonical: Rc<str>,
    /// The texts by which clients named it, the latest last.
    pub(super) aliases: Vec<Box<[u8]>>,
    /// The label of each limit, once somebody asked for them.
    labels: OnceCell<Box<[Box<str>]>>,
    /// True if some limit is `concurrent`, which only reservations can take.
    concurrent: bool,
    /// True if only the server itself writes the canonical text: some limit of the set has no token,
    /// or the text names where the limits came from. Clients must not give this text, known or not.
    pub(super) internal: bool,
}

impl InternedLimits {
    pub(super) fn new(limits: Limits, origin: Option<Origin>, canonical: Rc<str>) -> Self {
        let concurrent = limits.has_concurrent();
        let internal = limits.has_throttle() || origin.is_some();
        Self { limits, origin, canonical, aliases: Vec::new(), labels: OnceCell::new(), concurrent, internal }
    }

    /// The limits, in the order in which they were written.
    #[inline]
    pub const fn limits(&self) -> &[Limit] {
        self.limits.as_slice()
    }

    /// The policies that the limits came from, if they did.
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The text that is stored and replicated.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The label of each limit ([`Limit::label`]), in the order of the limits.
    pub fn labels(&self) -> &[Box<str>] {
        self.labels.get_or_init(|| self.limits().iter().map(|limit| limit.label().into()).collect())
    }

    /// True if some limit is `concurrent`, which only reservations can take.
    #[inline]
    pub const fn has_concurrent(&self) -> bool {
        self.concurrent
    }

    /// True if `text` is known to mean these limits. Nothing is parsed.
    #[inline]
    pub fn is(&self, text: &[u8]) -> bool {
        self.has(text) && !self.internal
    }

    /// True if `text` is the canonical text or the latest alias.
    #[inline]
    pub(super) fn has(&self, text: &[u8]) -> bool {
        self.canonical.as_bytes() == text || self.aliases.last().is_some_and(|alias| **alias == *text)
    }
}
