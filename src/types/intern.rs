//! Limits, kept once however many keys use them.
//!
//! A key refers to its limits by a number of 32 bits. A text that comes again
//! costs a comparison with the text that the key's limits came from, else one
//! hash lookup; it is parsed only the first time. Sets that no key refers to
//! any more are swept, so a flood of different limits leaves nothing behind.
//!
//! **Optimisation.** A number in place of parsed limits makes the 16 bytes of
//! [`Small`](crate::types::ratelimit::layout::Small) possible, and a call parses
//! nothing. The plain version parses the text at every call: `tests/types/intern.rs`
//! compares both.

use crate::core::limits::{Expression, Label, Limit, Limits, Term};
use crate::core::text::token::TokenError;
use crate::core::wire::Corrupt;
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::cell::{OnceCell, Ref, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Where a key got its limits from, when they are not written out: so that it
/// can be asked again what they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A text that names policies, as calls and pins give it.
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

/// Between an origin and the limits in the stored text; no limit holds it.
const ORIGIN_ENDS: char = '|';

/// One set of limits and the texts it is known by.
#[derive(Debug)]
pub struct InternedLimits {
    limits: Limits,
    origin: Option<Origin>,
    canonical: Arc<str>,
    /// What clients wrote for it, the latest last.
    aliases: Vec<Box<[u8]>>,
    /// How replies call each limit, once somebody asked.
    labels: OnceCell<Box<[Box<str>]>>,
    /// Some limit is `concurrent`, which only reservations can take.
    concurrent: bool,
    /// Some limit is what only the server itself writes: clients must not give
    /// the text, known or not.
    internal: bool,
}

impl InternedLimits {
    fn new(limits: Limits, origin: Option<Origin>, canonical: Arc<str>) -> Self {
        let (concurrent, internal) = (limits.has_concurrent(), limits.has_throttle());
        Self { limits, origin, canonical, aliases: Vec::new(), labels: OnceCell::new(), concurrent, internal }
    }

    /// The limits, in the order they were written.
    #[inline]
    pub const fn limits(&self) -> &[Limit] {
        self.limits.as_slice()
    }

    /// The policies that they came from.
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The text that is stored and replicated.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// How replies call each limit ([`Limit::label`]), in their order.
    pub fn labels(&self) -> &[Box<str>] {
        self.labels.get_or_init(|| self.limits().iter().map(|limit| limit.label().into()).collect())
    }

    /// Some limit is `concurrent`, which only reservations can take.
    #[inline]
    pub const fn has_concurrent(&self) -> bool {
        self.concurrent
    }

    /// True when `text` is known to mean these limits, without parsing it.
    #[inline]
    pub fn is(&self, text: &[u8]) -> bool {
        let known =
            self.canonical.as_bytes() == text || self.aliases.last().is_some_and(|alias| **alias == *text);
        known && !self.internal
    }
}

/// A counted reference to a [`InternedLimits`]. May be dropped on any thread.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitsRef(u32);

const SEGMENT: usize = 1024;
const SEGMENTS: usize = 65_536;

/// How many references each set has: apart from the sets, since a background
/// thread that frees keys may drop a reference but must not touch the table.
static COUNTS: [OnceLock<Box<[AtomicU32; SEGMENT]>>; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];

fn count(id: u32) -> Option<&'static AtomicU32> {
    let id = id as usize;
    let segment = COUNTS.get(id / SEGMENT)?.get_or_init(|| Box::new([const { AtomicU32::new(0) }; SEGMENT]));
    segment.get(id % SEGMENT)
}

/// How many sets nobody refers to: they wait to be swept. A background thread may count
/// one in a moment after the main thread has counted it out.
static UNUSED: AtomicI64 = AtomicI64::new(0);

impl LimitsRef {
    fn new(id: u32) -> Self {
        if let Some(count) = count(id)
            && count.fetch_add(1, Ordering::Relaxed) == 0
        {
            UNUSED.fetch_sub(1, Ordering::Relaxed);
        }
        Self(id)
    }

    /// The number, without the count: what the smallest shape stores.
    pub(super) fn into_id(self) -> u32 {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Takes a number from [`LimitsRef::into_id`] back.
    pub(super) const fn from_id(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn id(&self) -> u32 {
        self.0
    }

    /// Its text ([`InternedLimits::canonical`]), which needs no borrow of the table.
    pub fn text(&self, main: MainThread) -> Arc<str> {
        Arc::clone(&self.get(main).canonical)
    }

    /// The set, while the table is borrowed.
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

/// The set with this number, which some live reference has.
#[inline]
pub fn get(main: MainThread, id: u32) -> Ref<'static, InternedLimits> {
    Ref::map(TABLE.of(main).borrow(), |table| match table.sets.get(id as usize) {
        Some(Some(set)) => &**set,
        // A live reference keeps its set; an empty stand-in beats a crash all the same.
        _ => table
            .nothing
            .get_or_init(|| InternedLimits::new(Limits::from(Limit::unlimited()), None, "unlimited".into())),
    })
}

/// At most so many texts a set answers to.
const MOST_ALIASES: usize = 8;
/// Sweep no earlier than at so many sets.
const LEAST_SWEEP: usize = 1024;

#[derive(Debug)]
struct InternTable {
    /// In boxes: where one of the last stays, the others leave little behind.
    sets: Vec<Option<Box<InternedLimits>>>,
    free: Vec<u32>,
    by_text: Option<HashMap<Box<[u8]>, u32>>,
    sweep_at: usize,
    nothing: OnceLock<InternedLimits>,
}

static TABLE: MainThreadCell<InternTable> = MainThreadCell::new(InternTable {
    sets: Vec::new(),
    free: Vec::new(),
    by_text: None,
    sweep_at: LEAST_SWEEP,
    nothing: OnceLock::new(),
});

/// What a limits argument asks for.
#[derive(Debug)]
pub enum ParsedLimits {
    /// These limits.
    Limits(LimitsRef),
    /// `*`: whatever the server has for the key.
    ServerChosen,
    /// Limits with policies among them, to be looked up each time.
    Terms(Vec<Term>),
}

/// Reads a limits argument; known texts are not parsed.
///
/// # Errors
/// The malformed limit and why.
pub fn want(main: MainThread, text: &[u8]) -> Result<ParsedLimits, TokenError> {
    let table = TABLE.of(main);
    if let Some(id) = known(table, text)
        && !get(main, id).internal
    {
        return Ok(ParsedLimits::Limits(LimitsRef::new(id)));
    }
    match Expression::parse(text)? {
        Expression::ServerChosen => Ok(ParsedLimits::ServerChosen),
        Expression::Terms(terms) if terms.iter().any(|term| matches!(term, Term::Policy(_))) => {
            Ok(ParsedLimits::Terms(terms))
        }
        Expression::Terms(_) => {
            let reference = intern(main, Limits::parse(text)?);
            remember(&mut table.borrow_mut(), text, reference.0);
            Ok(ParsedLimits::Limits(reference))
        }
    }
}

/// The reference for these limits, new or known.
pub fn intern(main: MainThread, limits: Limits) -> LimitsRef {
    let canonical = limits.canonical();
    put(main, limits, None, canonical)
}

/// The reference for limits that came from policies. They are another set than
/// the same limits written out.
pub fn intern_from(main: MainThread, limits: Limits, origin: &Origin) -> LimitsRef {
    let canonical = format!("{origin}{ORIGIN_ENDS}{}", limits.canonical());
    put(main, limits, Some(origin.clone()), canonical)
}

/// The reference for a text that [`InternedLimits::canonical`] gave.
///
/// # Errors
/// The text is malformed.
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
    Ok(match origin {
        Some(origin) => intern_from(main, limits, &origin),
        None => intern(main, limits),
    })
}

fn put(main: MainThread, limits: Limits, origin: Option<Origin>, canonical: String) -> LimitsRef {
    let table = TABLE.of(main);
    if let Some(id) = known(table, canonical.as_bytes()) {
        return LimitsRef::new(id);
    }
    let mut table = table.borrow_mut();
    if table.sets.len() - table.free.len() >= table.sweep_at {
        sweep(&mut table);
    }
    let set = InternedLimits::new(limits, origin, canonical.clone().into());
    let id = if let Some(id) = table.free.pop() {
        id
    } else {
        table.sets.push(None);
        u32::try_from(table.sets.len() - 1).unwrap_or(u32::MAX)
    };
    if let Some(slot) = table.sets.get_mut(id as usize) {
        *slot = Some(Box::new(set));
        UNUSED.fetch_add(1, Ordering::Relaxed);
    }
    table.by_text.get_or_insert_default().insert(canonical.into_bytes().into(), id);
    LimitsRef::new(id)
}

/// The reference for a text that is known already.
pub fn known_text(main: MainThread, text: &[u8]) -> Option<LimitsRef> {
    known(TABLE.of(main), text).map(LimitsRef::new)
}

/// The number of sets in use or waiting to be swept.
pub fn size(main: MainThread) -> usize {
    let table = TABLE.of(main).borrow();
    table.sets.len() - table.free.len()
}

fn known(table: &RefCell<InternTable>, text: &[u8]) -> Option<u32> {
    table.borrow().by_text.as_ref()?.get(text).copied()
}

fn remember(table: &mut InternTable, text: &[u8], id: u32) {
    let Some(Some(set)) = table.sets.get_mut(id as usize) else { return };
    if set.canonical.as_bytes() == text {
        return;
    }
    let dropped = (set.aliases.len() >= MOST_ALIASES).then(|| set.aliases.remove(0));
    set.aliases.push(text.into());
    let by_text = table.by_text.get_or_insert_default();
    if let Some(dropped) = dropped {
        by_text.remove(&dropped);
    }
    by_text.insert(text.into(), id);
}

/// Sweeps where most sets are unused: after keys have gone nobody may ask for new ones.
pub fn tidy(main: MainThread) {
    let unused = usize::try_from(UNUSED.load(Ordering::Relaxed)).unwrap_or(0);
    if unused < LEAST_SWEEP {
        return;
    }
    let mut table = TABLE.of(main).borrow_mut();
    if unused.saturating_mul(2) >= table.sets.len() - table.free.len() {
        sweep(&mut table);
    }
}

/// The server's timer tidies.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, |ctx| tidy(ctx.main()))];

fn sweep(table: &mut InternTable) {
    let by_text = table.by_text.get_or_insert_default();
    let mut swept = 0;
    for (id, slot) in (0u32..).zip(table.sets.iter_mut()) {
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
    while table.sets.pop_if(|last| last.is_none()).is_some() {}
    table.free.clear();
    table.free.extend((0u32..).zip(&table.sets).filter(|(_, slot)| slot.is_none()).map(|(id, _)| id));
    let live = table.sets.len() - table.free.len();
    table.sweep_at = (live * 2).max(LEAST_SWEEP);
    table.sets.shrink_to(table.sets.len().max(LEAST_SWEEP) * 2);
    table.free.shrink_to(table.free.len().max(LEAST_SWEEP) * 2);
    by_text.shrink_to(by_text.len().max(LEAST_SWEEP) * 2);
}

/// How many sets and texts the table has room for.
pub fn room(main: MainThread) -> usize {
    let table = TABLE.of(main).borrow();
    table.sets.capacity() + table.free.capacity() + table.by_text.as_ref().map_or(0, HashMap::capacity)
}
