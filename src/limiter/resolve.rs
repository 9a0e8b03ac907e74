//! Finds the limits that hold for a call: the key's pin, else the call's own limits, else a
//! policy's, else the default.

use crate::core::limits::{Limit, Limits, State};
use crate::core::text::token::{TokenError, shown};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::intern::{self, InternedLimits, LimitsRef, Origin, ParsedLimits};
use crate::types::policies::node;
use crate::types::ratelimit::RateLimit;

/// The source of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A pin: an operator fixed the limits of this key.
    Pin,
    /// The call named them.
    Call,
    /// A policy with a prefix of the key.
    Policy,
    /// The setting `default-limit`.
    Default,
    /// The key's own last limits (RL.QUOTA only).
    Last,
}

impl Source {
    /// The words for the sources, in their order.
    pub const NAMES: [&str; 5] = ["pin", "call", "policy", "default", "last"];
}

/// The limits that hold.
#[derive(Debug)]
pub enum ResolvedLimits {
    /// The limits that the key used last, by the number of their set. Its states are in their order.
    Own(u32),
    /// Other limits, or the key is new.
    Other(LimitsRef),
}

/// A key as a command finds it, at one time.
#[derive(Clone, Copy, Debug)]
pub struct KeyView<'v> {
    /// The proof that this is the main thread.
    pub main: MainThread,
    /// The key's name.
    pub name: &'v [u8],
    /// The key's value; `None` if the key does not exist.
    pub value: Option<&'v RateLimit>,
    /// The time of the command.
    pub now: Micros,
}

impl<'v> KeyView<'v> {
    /// The key of this name, with its value.
    pub fn of(ctx: &Context<'_>, name: Arg<'v>, value: Option<&'v RateLimit>, now: Micros) -> Self {
        Self { main: ctx.main(), name: name.bytes(), value, now }
    }

    /// The same key with another value, or at another time.
    #[must_use]
    pub const fn at<'w>(self, value: Option<&'w RateLimit>, now: Micros) -> KeyView<'w>
    where
        'v: 'w,
    {
        KeyView { main: self.main, name: self.name, value, now }
    }

    /// Finds the limits for a call that takes units.
    ///
    /// `given` is the call's own argument. It is checked even if it does not hold, so that a pin does
    /// not hide a typing error.
    ///
    /// # Errors
    /// A malformed limit, an unknown policy, or no limits.
    #[inline]
    pub fn resolve(self, given: Option<&[u8]>) -> Result<(ResolvedLimits, Source), Error> {
        let Self { main, name, value, now } = self;
        let own = value.and_then(RateLimit::limits_id);
        if let Some(pin) = value.and_then(|value| value.pin(now)) {
            if let Some(text) = given {
                check(main, text)?;
            }
            // A pin to a policy that was deleted is passed over.
            if let Ok(Some(resolved)) = limits_of(main, own, pin.text.as_bytes()) {
                return Ok((resolved, Source::Pin));
            }
        }
        if let Some(text) = given {
            if !settings::caller_limits(main) {
                check(main, text)?;
            } else if let Some(own) = own.filter(|&own| is_own(main, own, text)) {
                return Ok((ResolvedLimits::Own(own), Source::Call));
            } else if let Some(resolved) =
                look_up(main, own, text).map_err(|error| if_swapped(name, text, error))?
            {
                return Ok((resolved, Source::Call));
            }
        }
        default_limits(main, name, own)
    }

    /// Returns these limits, and their states on this key. Returns `None` if they are the key's own
    /// limits and the key has none.
    pub fn usage_of(self, resolved: &ResolvedLimits) -> Option<(LimitsRef, Vec<State>)> {
        match (resolved, self.value) {
            (ResolvedLimits::Own(_), value) => {
                let value = value?;
                value.limits().map(|limits| (limits, value.with_states(<[_]>::to_vec)))
            }
            (ResolvedLimits::Other(other), Some(value)) => {
                let states = value.seen_by(self.main, other.get(self.main).limits(), self.now);
                Some((other.clone(), states))
            }
            (ResolvedLimits::Other(other), None) => {
                let states = vec![State::default(); other.get(self.main).limits().len()];
                Some((other.clone(), states))
            }
        }
    }

    /// Refuses a grant under `limits` that would leave aside more limits with usage than a key
    /// remembers. So no usage is ever forgotten.
    ///
    /// # Errors
    /// [`Error::TooManyUnlisted`].
    pub fn refuse_too_many(self, limits: &[Limit]) -> Result<(), Error> {
        match self.value {
            Some(value) if !value.has_room_for(self.main, limits, self.now) => Err(Error::TooManyUnlisted),
            _ => Ok(()),
        }
    }

    /// True if an operator's block holds.
    #[inline]
    pub fn is_blocked(self) -> bool {
        self.value.is_some_and(|value| value.block(self.now).is_some())
    }

    /// True if the clock stepped back since the key was written.
    pub fn stepped_back(self) -> bool {
        self.value.is_some_and(|value| value.stepped_back(self.main, self.now))
    }
}

/// Explains a call such as `RL.ACQUIRE 10/s user:42`, in which key and limits are swapped.
#[cold]
fn if_swapped(key: &[u8], given: &[u8], error: Error) -> Error {
    if Limits::parse(key).is_err() {
        return error;
    }
    let reason = format!("the key comes first, then the limits: {} {}", shown(given), shown(key));
    TokenError::new("limit", given, reason).into()
}

/// The limits of a key without a pin whose call names none: a policy's, else the default.
fn default_limits(main: MainThread, key: &[u8], own: Option<u32>) -> Result<(ResolvedLimits, Source), Error> {
    if let Some(policy) = node::limits_for(main, key) {
        return Ok((same_or_other(own, policy), Source::Policy));
    }
    if let Some(default) = settings::default_limit(main) {
        return Ok((same_or_other(own, default), Source::Default));
    }
    Err(Error::NoLimits)
}

/// Checks that a text is well formed.
fn check(main: MainThread, text: &[u8]) -> Result<(), Error> {
    if names_policy(text) {
        crate::core::limits::Expression::parse(text)?;
    } else {
        intern::want(main, text)?;
    }
    Ok(())
}

/// True if a text of limits names a policy. In such a text only the name of a policy has an `@`.
fn names_policy(text: &[u8]) -> bool {
    text.contains(&b'@')
}

/// The limits of a text; `None` for `*`. A text that the key's limits came from is not even hashed.
///
/// # Errors
/// A malformed limit or an unknown policy.
#[inline]
pub fn limits_of(main: MainThread, own: Option<u32>, text: &[u8]) -> Result<Option<ResolvedLimits>, Error> {
    match own.filter(|&own| is_own(main, own, text)) {
        Some(own) => Ok(Some(ResolvedLimits::Own(own))),
        None => look_up(main, own, text),
    }
}

/// True if a text is the one that the key's limits came from.
#[inline]
fn is_own(main: MainThread, own: u32, text: &[u8]) -> bool {
    intern::get(main, own).is(text)
}

fn look_up(main: MainThread, own: Option<u32>, text: &[u8]) -> Result<Option<ResolvedLimits>, Error> {
    // A known text names no policy, so it is not searched for one.
    if let Some(limits) = intern::wanted_before(main, text) {
        return Ok(Some(same_or_other(own, limits)));
    }
    if names_policy(text) {
        return Ok(Some(same_or_other(own, node::limits_of(main, text)?)));
    }
    match intern::want(main, text)? {
        ParsedLimits::Limits(limits) => Ok(Some(same_or_other(own, limits))),
        // A text that names policies is handled above.
        ParsedLimits::ServerChosen | ParsedLimits::Terms(_) => Ok(None),
    }
}

fn same_or_other(own: Option<u32>, limits: LimitsRef) -> ResolvedLimits {
    match own {
        Some(own) if own == limits.id() => ResolvedLimits::Own(own),
        _ => ResolvedLimits::Other(limits),
    }
}

/// Refuses limits that only reservations can take.
///
/// # Errors
/// [`Error::Concurrent`] with the limit, and with whose it is if the call did not write it.
#[inline]
pub fn refuse_concurrent(set: &InternedLimits, source: Source) -> Result<(), Error> {
    if set.has_concurrent() { Err(concurrent(set, source)) } else { Ok(()) }
}

#[cold]
fn concurrent(set: &InternedLimits, source: Source) -> Error {
    let first = set.limits().iter().find(|limit| limit.algorithm_name() == "concurrent");
    let limit = first.map(Limit::canonical).unwrap_or_default();
    let whose = match (source, set.origin()) {
        (Source::Pin, _) => " of the key's pin".to_owned(),
        (Source::Default, _) => " of default-limit".to_owned(),
        (_, Some(Origin::Followed(policy))) => format!(" of the policy '{policy}'"),
        (_, Some(Origin::Named(text))) => format!(" of '{text}'"),
        (_, None) => String::new(),
    };
    Error::Concurrent(format!("'{limit}'{whose}"))
}
