//! One request decided on the value of a key.

use super::Error;
use super::closing::BlocksBegun;
use super::ends::{self, Retry};
use super::reply::Index;
use super::resolve::{Source, refuse_concurrent, refuse_crowd, resolve, usage_of};
use crate::core::limits::{self, Limit, LimitStatus, Request, State, Taken};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::ResolvedLimits;
use crate::observe::labels::DecisionLabels;
use crate::server::context::Context;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::intern::{self, LimitsRef};
use crate::types::ratelimit::RateLimit;

/// A request decided on a key, and what there is to record of it.
#[derive(Debug)]
pub struct AcquireDecision {
    /// The reply.
    pub reply: RateLimitReply,
    /// The limits, where the key used others last or is new.
    other: Option<LimitsRef>,
    taken: Taken,
    labelled: Option<DecisionLabels>,
    record: Record,
    /// What a denial closes once [`AcquireDecision::close`] says so.
    closes: Option<Box<BlocksBegun>>,
}

/// What there is to record of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// Nothing: it is denied, or counts nothing.
    Nothing,
    /// What it takes, and under which limits.
    Grant {
        /// The clock stepped back, which is to be recorded also where it is denied
        /// after all.
        stepped_back: bool,
    },
    /// It is denied; a clock that stepped back.
    Clock,
}

impl AcquireDecision {
    /// A denial that records nothing.
    pub fn denial(reply: RateLimitReply) -> Self {
        Self {
            reply,
            other: None,
            taken: Taken::default(),
            labelled: None,
            record: Record::Nothing,
            closes: None,
        }
    }

    /// True where a denial closes limits, unless its request waits.
    pub fn would_close(&self) -> bool {
        self.closes.as_ref().is_some_and(|blocks| !blocks.in_force)
    }

    /// The request does not wait: what its denial closes, closes.
    #[inline]
    pub fn close(&mut self) {
        if let Some(blocks) = &mut self.closes {
            blocks.in_force = true;
            self.reply = blocks.reply;
        }
    }

    /// The same request denied after all: a clock that stepped back is all there is to
    /// record of it.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        let record = match self.record {
            Record::Clock | Record::Grant { stepped_back: true } => Record::Clock,
            Record::Nothing | Record::Grant { stepped_back: false } => Record::Nothing,
        };
        Self { labelled: self.labelled, record, ..Self::denial(reply) }
    }

    /// The blocks that it begins.
    #[inline]
    fn begun(&self) -> Option<&BlocksBegun> {
        self.closes.as_deref().filter(|blocks| blocks.in_force)
    }

    /// Counts what every command that takes counts alike.
    pub fn count(&self, main: MainThread) {
        self.reply.count(main, self.labelled.as_ref());
        self.count_blocks(main);
    }

    /// Counts the blocks that it begins.
    #[inline]
    pub fn count_blocks(&self, main: MainThread) {
        if let Some(blocks) = self.begun() {
            blocks.count(main);
        }
    }

    /// Runs `make_it_so` with the change that the decision asks for, if any.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change<E>(
        &self,
        main: MainThread,
        make_it_so: impl FnOnce(RateLimitChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(blocks) = self.begun() {
            return make_it_so(blocks.change());
        }
        match self.record {
            Record::Nothing => Ok(()),
            Record::Clock => make_it_so(RateLimitChange::Touch { limits: None }),
            Record::Grant { .. } => {
                let text = self.other.as_ref().map(|other| other.text(main));
                make_it_so(RateLimitChange::Take { limits: text.as_deref(), taken: self.taken })
            }
        }
    }
}

/// Decides one request on the value of a key, without changing it.
///
/// # Errors
/// Malformed limits, none at all, such as can only be reserved, or more than the key
/// remembers the usage of.
pub fn decide(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<AcquireDecision, Error> {
    decide_until(ctx, key, value, given, request, now, |value, then| {
        decide(ctx, key, value, given, request, then).map(|later| later.reply.status.retry)
    })
}

/// As [`decide`], for whom something else decides once a pin has ended: `later` says how
/// long the request waits from then on.
///
/// # Errors
/// As [`decide`].
pub fn decide_until(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
    later: impl Fn(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
) -> Result<AcquireDecision, Error> {
    let main = ctx.main();
    if let Some(value) = value.filter(|value| value.block(now).is_some()) {
        return blocked(ctx, key, value, given, request, now, later);
    }
    let (resolved, source) = resolve(main, key, value, given, now)?;
    let (id, other) = match resolved {
        ResolvedLimits::Own => match value.and_then(RateLimit::limits_id) {
            Some(id) => (id, None),
            None => return Err(Error::NoLimits),
        },
        ResolvedLimits::Other(other) => (other.id(), Some(other)),
    };
    let set = intern::get(main, id);
    refuse_concurrent(&set)?;
    let judge = |states: &[State]| limits::decide(set.limits(), states, now, request);
    let decision = match (value, &other) {
        (Some(value), None) => value.with_states(judge),
        (Some(value), Some(_)) => judge(&value.seen_by(main, set.limits(), now)),
        (None, _) => judge(&fresh(set.limits())),
    };
    // On the same usage, seldom.
    let mut closes = if decision.closes.is_empty() {
        None
    } else {
        let states = match (value, &other) {
            (Some(value), None) => value.with_states(<[State]>::to_vec),
            (Some(value), Some(_)) => value.seen_by(main, set.limits(), now),
            (None, _) => fresh(set.limits()),
        };
        BlocksBegun::of(set.limits(), &states, now, request, &decision)
    };
    let stepped_back = decision.record_clock
        || match (value, &other) {
            (Some(value), None) => value.stepped_back_beside(now),
            (Some(value), Some(_)) => value.stepped_back(main, now),
            (None, _) => false,
        };
    let record = if !decision.is_granted() {
        if stepped_back { Record::Clock } else { Record::Nothing }
    } else if !decision.taken.is_nothing() || value.is_some() && (other.is_some() || stepped_back) {
        if other.is_some() {
            refuse_crowd(main, value, set.limits(), now)?;
        }
        Record::Grant { stepped_back }
    } else {
        // What grants without counting (unlimited, or a shadow limit that denies)
        // leaves no trace, but on a key that had other limits.
        Record::Nothing
    };
    let labelled = if set.origin().is_some() || !decision.shadow_denied.is_empty() {
        let limits = other.clone().or_else(|| value?.limits());
        limits.map(|limits| DecisionLabels { limits, shadow_denied: decision.shadow_denied })
    } else {
        None
    };
    // What holds later is looked up anew.
    drop(set);
    let mut reply = RateLimitReply::of(&decision);
    if source == Source::Pin
        && reply.granted == 0
        && let Some(value) = value
    {
        let retry = Retry { limits: reply.status.retry, pinned: true };
        reply.status.retry = ends::across(main, value, retry, now, &later);
        if let Some(blocks) = &mut closes {
            blocks.across_pin(main, value, now, later);
        }
    }
    Ok(AcquireDecision { reply, other, taken: decision.taken, labelled, record, closes })
}

/// Usage of limits on a key that is not there.
fn fresh(limits: &[Limit]) -> Vec<State> {
    limits.iter().map(|_| State::default()).collect()
}

/// The answer on a blocked key: nothing is taken, and the wait is the later of
/// the block's and the limits'.
#[cold]
fn blocked(
    ctx: &Context<'_>,
    key: &[u8],
    value: &RateLimit,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
    later: impl FnOnce(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
) -> Result<AcquireDecision, Error> {
    let main = ctx.main();
    let (status, pinned) = match status_of(ctx, key, Some(value), given, request, now) {
        // A block needs no limits to hold.
        Err(Error::NoLimits) => (LimitStatus::UNLIMITED, false),
        Err(error) => return Err(error),
        Ok((status, source)) => (status, source == Source::Pin),
    };
    let retry = ends::across(main, value, Retry { limits: status.retry, pinned }, now, later);
    let status = LimitStatus { remaining: Some(0), retry, ..status };
    let denial = AcquireDecision::denial(RateLimitReply { granted: 0, status, index: Index::Blocked });
    let record = if value.stepped_back(main, now) { Record::Clock } else { Record::Nothing };
    Ok(AcquireDecision { record, ..denial })
}

/// How the limit that binds a request stands while nothing is taken.
///
/// # Errors
/// Malformed limits, none at all, or such as can only be reserved.
pub fn status_only(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<LimitStatus, Error> {
    status_of(ctx, key, value, given, request, now).map(|(status, _)| status)
}

/// As [`status_only`], and where the limits come from.
fn status_of(
    ctx: &Context<'_>,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<(LimitStatus, Source), Error> {
    let main = ctx.main();
    let (resolved, source) = resolve(main, key, value, given, now)?;
    let (limits, states) = usage_of(main, value, &resolved, now).ok_or(Error::NoLimits)?;
    let set = limits.get(main);
    refuse_concurrent(&set)?;
    let decision = limits::decide(set.limits(), &states, now, request);
    Ok((decision.before(set.limits(), &states, now), source))
}
