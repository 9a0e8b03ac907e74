//! Retries across the known end of a pin or a block that was set with FOR.

use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::MILLISECOND;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::refused;
use crate::limiter::resolve::KeyView;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{AppliedRateLimit, RateLimitChange, RateLimitEffect};
use crate::types::ratelimit::{Lifetime, RateLimit};
use crate::types::until::Until;

/// The retry by the limits that hold now, without a block.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The time until these limits would grant.
    pub limits: RetryAfter,
    /// True if the limits are the key's pin. Once that has ended, other limits hold.
    pub pinned: bool,
}

/// The earliest moment at which a denied request would be granted, if nobody else asks. The limits
/// that hold now decide it, or, if their pin ends first, those that hold then.
///
/// `later` decides the request at the moment that it is given, when pin and block have ended.
pub fn across(
    found: KeyView<'_>,
    retry: Retry,
    later: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let (now, Some(value)) = (found.now, found.value) else { return retry.limits };
    let opens = match value.block(now).map(|block| block.validity.until(now)) {
        None => now,
        Some(Until::At(end)) => end,
        Some(Until::Forever) => return RetryAfter::Never,
    };
    let under_limits = retry.limits.max(RetryAfter::until(opens, now));
    match if retry.pinned { pin_end(value, now) } else { None } {
        Some(end) if !is_before(under_limits, end, now) => wait_beyond(found, end.max(opens), later),
        _ => under_limits,
    }
}

/// The end of the pin that holds now.
fn pin_end(value: &RateLimit, now: Micros) -> Option<Micros> {
    value.pin(now)?.validity.until(now).end()
}

/// True if a wait, as replies show it, is over before `end`: they round up to milliseconds.
pub fn is_before(wait: RetryAfter, end: Micros, now: Micros) -> bool {
    match wait {
        RetryAfter::Now => true,
        RetryAfter::After(us) => now.plus(whole_millis(us)) < end,
        RetryAfter::Never => false,
    }
}

/// The time as replies show it, in microseconds.
const fn whole_millis(us: u64) -> u64 {
    us.div_ceil(MILLISECOND).saturating_mul(MILLISECOND)
}

/// The ends of one key for [`all_at_once`]: of its pin and of its block.
pub const ENDS: usize = 2;

/// Tells the wait of a whole on the part that waits longest by itself, if no part tells it yet. Where all
/// parts deny by themselves, their own waits may all end before the whole is granted.
pub fn tell_whole<'r>(parts: impl IntoIterator<Item = &'r mut RetryAfter>, whole: RetryAfter) {
    if let Some(longest) = parts.into_iter().max() {
        *longest = whole.max(*longest);
    }
}

/// The time until a request of several parts is granted as a whole. `longest` is the longest wait
/// of a part by itself; at its end a pin or a block of another part may have ended. At most `ends`
/// such ends follow one another.
///
/// `longest_at` decides all parts at a moment, and returns the longest wait of one from then on. It is
/// asked for whole milliseconds from now, which is what replies tell: another part may end in between.
pub fn all_at_once(
    longest: RetryAfter,
    ends: usize,
    now: Micros,
    mut longest_at: impl FnMut(Micros) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let mut wait = longest;
    // Each round passes an end, except the last for the units.
    for _ in 0..ends.saturating_add(2) {
        let RetryAfter::After(us) = wait else { return wait };
        let us = whole_millis(us);
        match longest_at(now.plus(us)) {
            Ok(RetryAfter::Now) => return RetryAfter::After(us),
            Ok(RetryAfter::After(more)) => wait = RetryAfter::After(us.saturating_add(more)),
            // A request that is refused then is not granted by waiting.
            Ok(RetryAfter::Never) | Err(_) => return RetryAfter::Never,
        }
    }
    wait
}

/// A copy of a key's value on which changes can be tried out. A clock that stepped back is recorded
/// on it, as by the first command that grants, denies or changes something.
///
/// # Errors
/// The change does not fit.
pub fn tried_out(found: KeyView<'_>) -> Result<Option<RateLimit>, Error> {
    let mut copy = found.value.map(RateLimit::simulation);
    if found.stepped_back() {
        try_out(found.main, &mut copy, found.now, RateLimitChange::Touch(None))?;
    }
    Ok(copy)
}

/// Tries a change out on a copy of a key's value; `None` for a key that does not exist. Returns how long
/// the key lives then, if anything changed.
///
/// # Errors
/// The change does not fit.
pub fn try_out(
    main: MainThread,
    copy: &mut Option<RateLimit>,
    now: Micros,
    change: RateLimitChange<'_>,
) -> Result<Option<Lifetime>, Error> {
    let effect = RateLimitEffect { now, expires: false, change };
    Ok(match effect.apply(main, copy.as_mut()).map_err(refused)? {
        AppliedRateLimit::Nothing => None,
        AppliedRateLimit::InPlace(lifetime) => Some(lifetime),
        AppliedRateLimit::Created(created, lifetime) => {
            *copy = Some(created.simulation());
            Some(lifetime)
        }
    })
}

/// The time until a request is granted that is decided again at `then`.
fn wait_beyond(
    found: KeyView<'_>,
    then: Micros,
    later: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let now = found.now;
    let wait = if found.stepped_back() {
        tried_out(found).and_then(|recorded| later(found.at(recorded.as_ref(), then)))
    } else {
        later(found.at(found.value, then))
    };
    match wait {
        Ok(RetryAfter::Now) => RetryAfter::until(then, now),
        Ok(RetryAfter::After(us)) => RetryAfter::After(then.since(now).saturating_add(us)),
        // A request that is refused then is not granted by waiting.
        Ok(RetryAfter::Never) | Err(_) => RetryAfter::Never,
    }
}

/// The end of a pin, for looking at each of its limits.
#[derive(Clone, Copy, Debug)]
pub struct PinEnd {
    end: Micros,
    /// The time until the request is granted, if it waits for the end of the pin.
    beyond: RetryAfter,
}

impl PinEnd {
    /// The end of the pin that holds now, if it has one. `later` is as for [`across`].
    pub fn of(
        found: KeyView<'_>,
        later: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) -> Option<Self> {
        let end = pin_end(found.value?, found.now)?;
        Some(Self { end, beyond: wait_beyond(found, end, later) })
    }

    /// The time until a limit of the pin lets the request through. If the pin ends before that, it
    /// is the time until the other limits do.
    pub fn wait(self, limit: RetryAfter, now: Micros) -> RetryAfter {
        if is_before(limit, self.end, now) { limit } else { self.beyond }
    }
}
