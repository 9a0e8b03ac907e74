//! Interned limits: each set is kept once, however many keys use it.
//!
//! A key refers to its limits by a number of 32 bits. A text is parsed only the first time. If it
//! comes again, it costs a comparison with the text of the key's limits, or else one hash look-up.
//! Sets that no key refers to any more are swept, so a flood of different limits leaves nothing
//! behind.
//!
//! | file | idea |
//! |---|---|
//! | `interned_limits` | one set of limits, and the texts that mean it |
//! | `origin` | where limits came from, if they are not written out |
//! | `limits_ref` | a counted reference to a set |
//! | `table` | the table of all sets |
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

mod interned_limits;
mod limits_ref;
mod origin;
mod table;

use crate::core::limits::{Expression, Limits, Term};
use crate::core::text::token::TokenError;
use crate::core::wire::Corrupt;
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use limits_ref::UNUSED;
use std::cell::Ref;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use table::{InternTable, LEAST_SWEEP};

pub use interned_limits::InternedLimits;
pub use limits_ref::LimitsRef;
pub use origin::Origin;

static TABLE: MainThreadCell<InternTable> = MainThreadCell::new(InternTable::new());

/// The character between an origin and the limits in the stored text. No limit contains it.
const ORIGIN_ENDS: char = '|';

impl LimitsRef {
    /// The text of the set ([`InternedLimits::canonical`]). It needs no borrow of the table.
    pub fn text(&self, main: MainThread) -> Rc<str> {
        Rc::clone(&self.get(main).canonical)
    }

    /// The set. The table is borrowed while the result lives.
    pub fn get(&self, main: MainThread) -> Ref<'static, InternedLimits> {
        get(main, self.id())
    }
}

/// The set with this number, to which some reference must live.
#[inline]
pub fn get(main: MainThread, id: u32) -> Ref<'static, InternedLimits> {
    Ref::map(TABLE.of(main).borrow(), |table| table.get(id))
}

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
            TABLE.of(main).borrow_mut().remember(text, reference.id());
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
