//! Interned limits: each set is kept once, however many keys use it.
//!
//! A key refers to its limits by a number of 32 bits. A text is parsed only the first time. If it
//! comes again, it costs a comparison with the text of the key's limits, or else one hash look-up.
//! Sets that no key refers to any more are swept, so a flood of different limits leaves nothing
//! behind.
//!
//! **Optimisation.** A number in place of parsed limits makes the 16 bytes of
//! [`Small`](crate::types::ratelimit::small::Small) possible, and a call parses nothing, which saves
//! 49 % of the instructions of a granted RL.ACQUIRE 100/m (commit 37560be). The plain version
//! parses the text at every call; `tests/types/intern.rs` compares both.
//!
//! **Optimisation.** Most callers ask for the same text again. So a text is compared with those of
//! the sets that were looked up lately before it is hashed, which saves 4 % of the instructions of
//! RL.ACQUIRE 100/m on a new key (commit 37560be). The plain version hashes each text;
//! `tests/types/intern.rs` compares what is found with the parsed limits.

use crate::core::limits::{Expression, Label, Limit, Limits, Term};
use crate::core::text::token::TokenError;
use crate::core::wire::Corrupt;
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::cell::{Cell, OnceCell, Ref};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// The origin of a key's limits, if they are not written out. By the origin the present limits can
/// be looked up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A text that names policies, as a call or a pin gives it.
    Named(Box<str>),
    /// The policy whose prefix the key has.
    Followed(Label),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(text) => f.write_str(text),
            Self::Followed(name) => write!(f, "*@{name}"),
        }
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("*@") {
            return Label::parse(name.as_bytes()).ok().map(Self::Followed);
        }
        match Expression::parse(text.as_bytes()) {
            Ok(Expression::Terms(terms)) if terms.iter().any(|term| matches!(term, Term::Policy(_))) => {
                Some(Self::Named(text.into()))
            }
            _ => None,
        }
    }
}

/// The character between an origin and the limits in the stored text. No limit contains it.
const ORIGIN_ENDS: char = '|';

/// One set of limits, and the texts that are known to mean it.
#[derive(Debug)]
pub struct InternedLimits {
    limits: Limits,
    origin: Option<Origin>,
    canonical: Rc<str>,
    /// The texts by which clients named it, the latest last.
    aliases: Vec<Box<[u8]>>,
    /// The label of each limit, once somebody asked for them.
    labels: OnceCell<Box<[Box<str>]>>,
    /// True if some limit is `concurrent`, which only reservations can take.
    concurrent: bool,
    /// True if only the server itself writes the canonical text: some limit of the set has no token,
    /// or the text names where the limits came from. Clients must not give this text, known or not.
    internal: bool,
}

impl InternedLimits {
    fn new(limits: Limits, origin: Option<Origin>, canonical: Rc<str>) -> Self {
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
    fn has(&self, text: &[u8]) -> bool {
        self.canonical.as_bytes() == text || self.aliases.last().is_some_and(|alias| **alias == *text)
    }
}

/// A counted reference to an [`InternedLimits`]. It may be dropped on any thread.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitsRef(u32);

const SEGMENT: usize = 1024;
const SEGMENTS: usize = 65_536;

/// The number of references to each set. It is kept apart from the sets: a background thread that
/// frees keys may drop a reference, but must not touch the table.
static COUNTS: [OnceLock<Box<[AtomicU32; SEGMENT]>>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];

fn count(id: u32) -> Option<&'static AtomicU32> {
    let id = id as usize;
    let segment = COUNTS.get(id / SEGMENT)?.get_or_init(|| Box::new([const { AtomicU32::new(0) }; SEGMENT]));
    segment.get(id % SEGMENT)
}

/// The number of sets that nobody refers to and that wait to be swept. A background thread may
/// count a set in just after the main thread has counted it out, so it can be below 0 for a moment.
static UNUSED: AtomicI64 = AtomicI64::new(0);

impl LimitsRef {
    /// One more reference to the set with this number.
    pub(super) fn new(id: u32) -> Self {
        if let Some(count) = count(id)
            && count.fetch_add(1, Ordering::Relaxed) == 0
        {
            UNUSED.fetch_sub(1, Ordering::Relaxed);
        }
        Self(id)
    }

    /// The number of the set, without dropping the count. The smallest shape stores it.
    pub(super) fn into_id(self) -> u32 {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Makes a reference again of a number that [`LimitsRef::into_id`] returned.
    pub(super) const fn from_id(id: u32) -> Self {
        Self(id)
    }

    /// The number of the set.
    pub const fn id(&self) -> u32 {
        self.0
    }

    /// The text of the set ([`InternedLimits::canonical`]). It needs no borrow of the table.
    pub fn text(&self, main: MainThread) -> Rc<str> {
        Rc::clone(&self.get(main).canonical)
    }

    /// The set. The table is borrowed while the result lives.
    pub fn get(&self, main: MainThread) -> Ref<'static, InternedLimits> {
        get(main, self.0)
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

/// The set with this number, to which some reference must live.
#[inline]
pub fn get(main: MainThread, id: u32) -> Ref<'static, InternedLimits> {
    Ref::map(TABLE.of(main).borrow(), |table| table.get(id))
}

/// The number of sets whose texts are compared before a text is hashed.
const RECENT: usize = 4;
/// The most texts that are remembered for one set.
const MOST_ALIASES: usize = 8;
/// The least number of sets from which on the table is swept.
const LEAST_SWEEP: usize = 1024;

#[derive(Debug)]
struct InternTable {
    /// The sets are boxed, so that the room of swept ones is small if a late one stays.
    sets: Vec<Option<Box<InternedLimits>>>,
    free: Vec<u32>,
    by_text: Option<HashMap<Box<[u8]>, u32>>,
    /// The sets that were looked up lately. One may be gone, and its number may be another set's.
    recent: Cell<[u32; RECENT]>,
    sweep_at: usize,
    nothing: OnceLock<InternedLimits>,
}

static TABLE: MainThreadCell<InternTable> = MainThreadCell::new(InternTable {
    sets: Vec::new(),
    free: Vec::new(),
    by_text: None,
    recent: Cell::new([0; RECENT]),
    sweep_at: LEAST_SWEEP,
    nothing: OnceLock::new(),
});

/// The limits that a `limits` argument asks for.
#[derive(Debug)]
pub enum ParsedLimits {
    /// The argument asks for these limits.
    Limits(LimitsRef),
    /// `*`: the limits that the server has for the key.
    ServerChosen,
    /// Limits with policies among them, which are looked up at each call.
    Terms(Vec<Term>),
}

/// The limits of a text that a client may give, if it is known. Such a text names no policy.
#[inline]
pub fn wanted_before(main: MainThread, text: &[u8]) -> Option<LimitsRef> {
    let table = TABLE.of(main).borrow();
    let (id, set) = table.known(text)?;
    (!set.internal).then(|| LimitsRef::new(id))
}

/// Reads a `limits` argument. Known texts are not parsed.
///
/// # Errors
/// Names the malformed limit and says why it is refused.
pub fn want(main: MainThread, text: &[u8]) -> Result<ParsedLimits, TokenError> {
    if let Some(limits) = wanted_before(main, text) {
        return Ok(ParsedLimits::Limits(limits));
    }
    match Expression::parse(text)? {
        Expression::ServerChosen => Ok(ParsedLimits::ServerChosen),
        Expression::Terms(terms) if terms.iter().any(|term| matches!(term, Term::Policy(_))) => {
            Ok(ParsedLimits::Terms(terms))
        }
        Expression::Terms(_) => {
            let reference = intern(main, Limits::parse(text)?);
            TABLE.of(main).borrow_mut().remember(text, reference.0);
            Ok(ParsedLimits::Limits(reference))
        }
    }
}

/// The reference of these limits, new or known.
pub fn intern(main: MainThread, limits: Limits) -> LimitsRef {
    put(main, limits, None)
}

/// The reference of limits that came from policies. Their set differs from that of the same limits
/// written out.
pub fn intern_from(main: MainThread, limits: Limits, origin: Origin) -> LimitsRef {
    put(main, limits, Some(origin))
}

/// The reference of a text that [`InternedLimits::canonical`] returned.
///
/// # Errors
/// [`Corrupt`] if the text is malformed.
pub fn stored(main: MainThread, text: &str) -> Result<LimitsRef, Corrupt> {
    if let Some(known) = known_text(main, text.as_bytes()) {
        return Ok(known);
    }
    let (origin, limits) = match text.split_once(ORIGIN_ENDS) {
        Some((origin, limits)) => {
            (Some(Origin::parse(origin).ok_or(Corrupt("malformed origin of limits"))?), limits)
        }
        None => (None, text),
    };
    let limits = Limits::parse_stored(limits.as_bytes()).map_err(|_| Corrupt("malformed limits"))?;
    Ok(put(main, limits, origin))
}

fn put(main: MainThread, limits: Limits, origin: Option<Origin>) -> LimitsRef {
    let canonical = match &origin {
        Some(origin) => format!("{origin}{ORIGIN_ENDS}{}", limits.canonical()),
        None => limits.canonical(),
    };
    if let Some(known) = known_text(main, canonical.as_bytes()) {
        return known;
    }
    let set = InternedLimits::new(limits, origin, canonical.into());
    LimitsRef::new(TABLE.of(main).borrow_mut().put(set))
}

/// The reference of a text, if it is known.
pub fn known_text(main: MainThread, text: &[u8]) -> Option<LimitsRef> {
    TABLE.of(main).borrow().known(text).map(|(id, _)| LimitsRef::new(id))
}

/// The number of sets that are in use or wait to be swept.
pub fn size(main: MainThread) -> usize {
    TABLE.of(main).borrow().size()
}

impl InternTable {
    /// The set with this number, to which some reference must live.
    #[inline]
    fn get(&self, id: u32) -> &InternedLimits {
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
    fn size(&self) -> usize {
        self.sets.len() - self.free.len()
    }

    /// Keeps a set whose canonical text is not known. Returns its number, to which nobody refers yet.
    fn put(&mut self, set: InternedLimits) -> u32 {
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
    fn known(&self, text: &[u8]) -> Option<(u32, &InternedLimits)> {
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
    fn remember(&mut self, text: &[u8], id: u32) {
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
    fn sweep_if_unused(&mut self, unused: usize) {
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
    fn room(&self) -> usize {
        self.sets.capacity() + self.free.capacity() + self.by_text.as_ref().map_or(0, HashMap::capacity)
    }
}

/// Sweeps if most sets are unused. A sweep is otherwise part of interning, and after many keys have
/// gone nobody may intern a set.
pub fn sweep_unused(main: MainThread) {
    let unused = usize::try_from(UNUSED.load(Ordering::Relaxed)).unwrap_or(0);
    if unused < LEAST_SWEEP {
        return;
    }
    TABLE.of(main).borrow_mut().sweep_if_unused(unused);
}

/// The events that this file listens to: the server's timer sweeps the table.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, |ctx| sweep_unused(ctx.main()))];

/// The number of sets and texts that the table has room for.
pub fn room(main: MainThread) -> usize {
    TABLE.of(main).borrow().room()
}
