//! Decides one request on the value of a key.

use super::Error;
use super::closing::BlocksBegun;
use super::ends::{self, Retry};
use super::reply::Index;
use super::resolve::{KeyView, Source, refuse_concurrent};
use crate::core::limits::{self, Decision, Limit, LimitStatus, MAX_LIMITS, Request, State, Taken};
use crate::core::retry_after::RetryAfter;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::ResolvedLimits;
use crate::observe::labels::DecisionLabels;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{RateLimitChange, TakeUnits};
use crate::types::intern::{self, InternedLimits, LimitsRef};

/// The decision on a request, and what must be recorded of it.
#[derive(Debug)]
pub struct AcquireDecision {
    /// The reply.
    pub reply: RateLimitReply,
    /// The limits, if the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    labelled: Option<DecisionLabels>,
    record: Record,
    /// The blocks that a denial begins, once [`AcquireDecision::close`] is called.
    closes: Option<Box<BlocksBegun>>,
}

/// The record that a decision needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// Nothing is recorded: the request is denied, or counts nothing.
    Nothing,
    /// The units that the request takes are recorded, and their limits.
    Grant {
        /// True if the clock stepped back. This is recorded even if the request is denied after
        /// all.
        stepped_back: bool,
    },
    /// The request is denied, and the clock stepped back.
    Clock,
}

impl AcquireDecision {
    /// A denial that records nothing.
    fn denial(reply: RateLimitReply) -> Self {
        Self {
            reply,
            other: None,
            taken: Taken::default(),
            labelled: None,
            record: Record::Nothing,
            closes: None,
        }
    }

    /// True if the denial closes limits, unless its request waits.
    pub fn would_close(&self) -> bool {
        self.closes.as_ref().is_some_and(|blocks| !blocks.in_force)
    }

    /// Puts the blocks of the denial in force, because the request does not wait.
    #[inline]
    pub fn close(&mut self) {
        if let Some(blocks) = &mut self.closes {
            blocks.in_force = true;
            self.reply = blocks.reply;
        }
    }

    /// The denial of the same request after all. Only a clock that stepped back is recorded of it.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        let record = match self.record {
            Record::Clock | Record::Grant { stepped_back: true } => Record::Clock,
            Record::Nothing | Record::Grant { stepped_back: false } => Record::Nothing,
        };
        Self { labelled: self.labelled, record, ..Self::denial(reply) }
    }

    /// Corrects the retry of a denial. `retry` finds it on the key, with the blocks of the denial in
    /// force and without.
    pub fn correct_retry(&mut self, found: KeyView<'_>, retry: impl Fn(KeyView<'_>) -> RetryAfter) {
        self.reply.status.retry = retry(found);
        if let Some(blocks) = &mut self.closes {
            blocks.correct_retry(found, retry);
        }
    }

    /// The status of the limit that binds the request, while nothing is taken. `found`, `given` and
    /// `request` are those of the decision.
    ///
    /// # Errors
    /// The same as [`status_only`].
    pub fn status_before(
        &self,
        found: KeyView<'_>,
        given: Option<&[u8]>,
        request: &Request,
    ) -> Result<LimitStatus, Error> {
        if self.reply.granted > 0 { status_only(found, given, request) } else { Ok(self.reply.status) }
    }

    /// The blocks that the decision begins.
    #[inline]
    fn begun(&self) -> Option<&BlocksBegun> {
        self.closes.as_deref().filter(|blocks| blocks.in_force)
    }

    /// Counts what every command that takes units counts.
    pub fn count(&self, main: MainThread) {
        self.reply.count(main, self.labelled.as_ref());
        self.count_blocks(main);
    }

    /// Counts the blocks that the decision begins.
    #[inline]
    pub fn count_blocks(&self, main: MainThread) {
        if let Some(blocks) = self.begun() {
            blocks.count(main);
        }
    }

    /// True if nothing must be recorded of the decision: a plain denial, or a grant that counts
    /// nothing.
    #[inline]
    pub fn changes_nothing(&self) -> bool {
        self.record == Record::Nothing && self.begun().is_none()
    }

    /// Calls `make` with the change that the decision asks for, if there is one.
    ///
    /// # Errors
    /// Those of `make`.
    #[inline]
    pub fn change<E>(
        &self,
        main: MainThread,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(blocks) = self.begun() {
            return make(blocks.change());
        }
        match self.record {
            Record::Nothing => Ok(()),
            Record::Clock => make(RateLimitChange::Touch(None)),
            Record::Grant { .. } => {
                let text = self.other.as_ref().map(|other| other.text(main));
                make(RateLimitChange::Take(TakeUnits { limits: text.as_deref(), taken: self.taken }))
            }
        }
    }
}

/// Decides one request on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, no limits, limits that only reservations can take, or more limits with usage
/// than a key remembers.
pub fn decide(found: KeyView<'_>, given: Option<&[u8]>, request: &Request) -> Result<AcquireDecision, Error> {
    decide_until(found, given, request, |then| {
        decide(then, given, request).map(|later| later.reply.status.retry)
    })
}

/// The same as [`decide`], for a caller for whom something else decides once a pin has ended.
/// `later` returns how long the request waits from then on.
///
/// # Errors
/// The same as [`decide`].
pub fn decide_until(
    found: KeyView<'_>,
    given: Option<&[u8]>,
    request: &Request,
    later: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> Result<AcquireDecision, Error> {
    let KeyView { main, value, now, .. } = found;
    if found.is_blocked() {
        return blocked(found, given, request, later);
    }
    let (resolved, source) = found.resolve(given)?;
    let (id, other) = match resolved {
        ResolvedLimits::Own(id) => (id, None),
        ResolvedLimits::Other(other) => (other.id(), Some(other)),
    };
    let asked = AskedLimits { found, other };
    let set = intern::get(main, id);
    refuse_concurrent(&set, source)?;
    let limits = set.limits();
    let decision = asked.with_states(limits, |states| limits::decide(limits, states, now, request));
    // The same usage is looked up again, which is seldom necessary.
    let mut closes = if decision.closes.is_empty() {
        None
    } else {
        asked.with_states(limits, |states| BlocksBegun::of(limits, states, now, request, &decision))
    };
    let record = asked.record(&decision);
    if matches!(record, Record::Grant { .. }) && asked.other.is_some() {
        found.refuse_too_many(limits)?;
    }
    let labelled = asked.labels(&set, &decision);
    // The limits that hold later are looked up again.
    drop(set);
    let mut reply = RateLimitReply::of(&decision);
    if source == Source::Pin && reply.granted == 0 && value.is_some() {
        let retry = Retry { limits: reply.status.retry, pinned: true };
        reply.status.retry = ends::across(found, retry, &later);
        if let Some(blocks) = &mut closes {
            blocks.across_pin(found, later);
        }
    }
    Ok(AcquireDecision { reply, other: asked.other, taken: decision.taken, labelled, record, closes })
}

/// The states of the limits of a key that is new.
static FRESH: [State; MAX_LIMITS] = [const { State::Fresh }; MAX_LIMITS];

/// The key of a request and the limits that hold for it.
struct AskedLimits<'v> {
    found: KeyView<'v>,
    /// The limits, if the key used others last or is new.
    other: Option<LimitsRef>,
}

impl AskedLimits<'_> {
    /// Calls `read` with the states of the limits.
    #[inline]
    fn with_states<R>(&self, limits: &[Limit], read: impl FnOnce(&[State]) -> R) -> R {
        match (self.found.value, &self.other) {
            (Some(value), None) => value.with_states(read),
            (Some(value), Some(_)) => value.with_seen(self.found.main, limits, self.found.now, read),
            (None, _) => read(FRESH.get(..limits.len()).unwrap_or(&FRESH)),
        }
    }

    /// True if the clock stepped back since the key was written. `seen` says whether the decision
    /// saw it on the limits.
    #[inline]
    fn stepped_back(&self, seen: bool) -> bool {
        seen || match (self.found.value, &self.other) {
            (Some(value), None) => value.stepped_back_beside(self.found.now),
            (Some(_), Some(_)) => self.found.stepped_back(),
            (None, _) => false,
        }
    }

    /// Returns the record that a decision needs.
    #[inline]
    fn record(&self, decision: &Decision) -> Record {
        let stepped_back = self.stepped_back(decision.record_clock);
        if !decision.is_granted() {
            return if stepped_back { Record::Clock } else { Record::Nothing };
        }
        let replaces = self.found.value.is_some() && (self.other.is_some() || stepped_back);
        if decision.taken.is_nothing() && !replaces {
            // A request that is granted without counting (unlimited, or a shadow limit that denies)
            // leaves no trace, except on a key that had other limits.
            return Record::Nothing;
        }
        Record::Grant { stepped_back }
    }

    /// Returns the labels that the metrics count under the labels of these limits; `None` if there
    /// is nothing to count.
    #[inline]
    fn labels(&self, set: &InternedLimits, decision: &Decision) -> Option<DecisionLabels> {
        if set.origin().is_none() && decision.shadow_denied.is_empty() {
            return None;
        }
        let limits = self.other.clone().or_else(|| self.found.value?.limits())?;
        Some(DecisionLabels { limits, shadow_denied: decision.shadow_denied })
    }
}

/// The answer on a blocked key. Nothing is taken, and the wait is the longer of those for the block
/// and for the limits.
#[cold]
fn blocked(
    found: KeyView<'_>,
    given: Option<&[u8]>,
    request: &Request,
    later: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> Result<AcquireDecision, Error> {
    let (status, pinned) = match status_of(found, given, request) {
        // A block holds even without limits.
        Err(Error::NoLimits) => (LimitStatus::UNLIMITED, false),
        Err(error) => return Err(error),
        Ok((status, source)) => (status, source == Source::Pin),
    };
    let retry = ends::across(found, Retry { limits: status.retry, pinned }, later);
    let status = LimitStatus { remaining: Some(0), retry, ..status };
    let denial = AcquireDecision::denial(RateLimitReply { granted: 0, status, index: Index::Blocked });
    let record = if found.stepped_back() { Record::Clock } else { Record::Nothing };
    Ok(AcquireDecision { record, ..denial })
}

/// The status of the limit that binds a request, while nothing is taken.
///
/// # Errors
/// Malformed limits, no limits, or limits that only reservations can take.
pub fn status_only(
    found: KeyView<'_>,
    given: Option<&[u8]>,
    request: &Request,
) -> Result<LimitStatus, Error> {
    status_of(found, given, request).map(|(status, _)| status)
}

/// The same as [`status_only`], with the source of the limits.
fn status_of(
    found: KeyView<'_>,
    given: Option<&[u8]>,
    request: &Request,
) -> Result<(LimitStatus, Source), Error> {
    let (resolved, source) = found.resolve(given)?;
    let (limits, states) = found.usage_of(&resolved).ok_or(Error::NoLimits)?;
    let set = limits.get(found.main);
    refuse_concurrent(&set, source)?;
    let decision = limits::decide(set.limits(), &states, found.now, request);
    Ok((decision.before(set.limits(), &states, found.now), source))
}
