//! Which limits hold for a call: the key's pin, else the call's own, else a
//! policy's, else the default.

use super::words::Word;
use crate::core::limits::{Limit, Limits, State};
use crate::core::text::token::{TokenError, shown};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::intern;
use crate::types::intern::{InternedLimits, LimitsRef, ParsedLimits};
use crate::types::policies::node;
use crate::types::ratelimit::RateLimit;

/// Where limits came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An operator's word for this key.
    Pin,
    /// The call.
    Call,
    /// A policy with a prefix of the key.
    Policy,
    /// The setting `default-limit`.
    Default,
    /// The key's own last limits (RL.QUOTA only).
    Last,
}

impl Source {
    /// As RL.QUOTA shows it.
    pub const fn word(self) -> Word {
        match self {
            Self::Pin => Word::Pin,
            Self::Call => Word::Call,
            Self::Policy => Word::Policy,
            Self::Default => Word::Default,
            Self::Last => Word::Last,
        }
    }
}

/// The limits that hold.
#[derive(Debug)]
pub enum ResolvedLimits {
    /// Those that the key used last: its states are in their order.
    Own,
    /// Others, or the key is new.
    Other(LimitsRef),
}

/// Finds the limits for a call on a key that takes.
///
/// `given` is the call's own argument. It is checked even where it does not
/// hold, so that a typing error does not hide behind a pin.
///
/// # Errors
/// A malformed limit, an unknown policy, or no limits at all.
#[inline]
pub fn resolve(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    now: Micros,
) -> Result<(ResolvedLimits, Source), Error> {
    let own = value.and_then(RateLimit::limits_id);
    if let Some(pin) = value.and_then(|value| value.pin(now)) {
        if let Some(text) = given {
            check(main, text)?;
        }
        // A pin to a policy that is gone is passed over.
        if let Ok(Some(resolved)) = limits_of(main, own, pin.text.as_bytes()) {
            return Ok((resolved, Source::Pin));
        }
    }
    if let Some(text) = given {
        if !settings::caller_limits(main) {
            check(main, text)?;
        } else if let Some(resolved) =
            limits_of(main, own, text).map_err(|error| if_swapped(key, text, error))?
        {
            return Ok((resolved, Source::Call));
        }
    }
    default_limits(main, key, own)
}

/// `RL.ACQUIRE 10/s user:42`: the key was given for the limits.
#[cold]
fn if_swapped(key: &[u8], given: &[u8], error: Error) -> Error {
    if Limits::parse(key).is_err() {
        return error;
    }
    let reason = format!("the key comes first, then the limits: {} {}", shown(given), shown(key));
    TokenError::new("limit", given, reason).into()
}

/// The limits of a key that neither pin nor call gives any.
fn default_limits(main: MainThread, key: &[u8], own: Option<u32>) -> Result<(ResolvedLimits, Source), Error> {
    if let Some(policy) = node::limits_for(main, key) {
        return Ok((same_or_other(own, policy), Source::Policy));
    }
    if let Some(default) = settings::default_limit(main) {
        return Ok((same_or_other(own, default), Source::Default));
    }
    Err(Error::NoLimits)
}

/// Refuses a malformed text.
fn check(main: MainThread, text: &[u8]) -> Result<(), Error> {
    if names_policy(text) {
        crate::core::limits::Expression::parse(text)?;
    } else {
        intern::want(main, text)?;
    }
    Ok(())
}

/// Nothing in a limits text but the name of a policy starts with `@`.
fn names_policy(text: &[u8]) -> bool {
    text.contains(&b'@')
}

/// The limits of a text; `None` for `*`. A text that the key's limits came from
/// is not even hashed.
///
/// # Errors
/// A malformed limit or an unknown policy.
#[inline]
pub fn limits_of(main: MainThread, own: Option<u32>, text: &[u8]) -> Result<Option<ResolvedLimits>, Error> {
    if own.is_some_and(|own| intern::get(main, own).is(text)) {
        return Ok(Some(ResolvedLimits::Own));
    }
    look_up(main, own, text)
}

fn look_up(main: MainThread, own: Option<u32>, text: &[u8]) -> Result<Option<ResolvedLimits>, Error> {
    if names_policy(text) {
        return Ok(Some(same_or_other(own, node::limits_of(main, text)?)));
    }
    match intern::want(main, text)? {
        ParsedLimits::Limits(limits) => Ok(Some(same_or_other(own, limits))),
        // Terms with policies among them went the other way above.
        ParsedLimits::ServerChosen | ParsedLimits::Terms(_) => Ok(None),
    }
}

/// The limits that hold for a call, and what is in use of them as a decision sees it;
/// `None` when the key has neither.
///
/// # Errors
/// As [`resolve`].
pub fn usage(
    main: MainThread,
    key: &[u8],
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    now: Micros,
) -> Result<Option<(LimitsRef, Vec<State>)>, Error> {
    let (resolved, _) = resolve(main, key, value, given, now)?;
    Ok(usage_of(main, value, &resolved, now))
}

/// As [`usage`], for limits that are chosen already.
pub fn usage_of(
    main: MainThread,
    value: Option<&RateLimit>,
    resolved: &ResolvedLimits,
    now: Micros,
) -> Option<(LimitsRef, Vec<State>)> {
    match (resolved, value) {
        (ResolvedLimits::Own, value) => {
            let value = value?;
            value.limits().map(|limits| (limits, value.with_states(<[_]>::to_vec)))
        }
        (ResolvedLimits::Other(other), Some(value)) => {
            let states = value.seen_by(main, other.get(main).limits(), now);
            Some((other.clone(), states))
        }
        (ResolvedLimits::Other(other), None) => {
            let states = vec![State::default(); other.get(main).limits().len()];
            Some((other.clone(), states))
        }
    }
}

fn same_or_other(own: Option<u32>, limits: LimitsRef) -> ResolvedLimits {
    if own == Some(limits.id()) { ResolvedLimits::Own } else { ResolvedLimits::Other(limits) }
}

/// Refuses a grant under `limits` that would leave aside more limits with usage than
/// the key remembers: none of it is ever forgotten.
///
/// # Errors
/// [`Error::TooManyAside`].
pub fn refuse_crowd(
    main: MainThread,
    value: Option<&RateLimit>,
    limits: &[Limit],
    now: Micros,
) -> Result<(), Error> {
    match value {
        Some(value) if !value.has_room_aside(main, limits, now) => Err(Error::TooManyAside),
        _ => Ok(()),
    }
}

/// Refuses limits that only reservations can take.
///
/// # Errors
/// [`Error::Concurrent`] with the limit.
#[inline]
pub fn refuse_concurrent(set: &InternedLimits) -> Result<(), Error> {
    if set.has_concurrent() { Err(concurrent(set.limits())) } else { Ok(()) }
}

#[cold]
fn concurrent(limits: &[Limit]) -> Error {
    let first = limits.iter().find(|limit| limit.algorithm_name() == "concurrent");
    Error::Concurrent(first.map(Limit::canonical).unwrap_or_default())
}
