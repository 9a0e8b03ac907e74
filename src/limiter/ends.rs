//! What the server knows the end of, a pin or a block with FOR, and what a request waits
//! for across it.

use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect};
use crate::types::ratelimit::RateLimit;
use crate::types::until::Until;

/// What the limits say that hold now, without a block.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Until they would grant.
    pub limits: RetryAfter,
    /// They are the key's pin: once that has ended, others hold.
    pub pinned: bool,
}

/// The earliest moment at which a denied request would be granted if nobody else asks: by
/// the limits that hold now, or, where a pin ends first, by those that hold then. `later`
/// decides it at the moment that it is given, when pin and block have ended.
pub fn across(
    main: MainThread,
    value: &RateLimit,
    retry: Retry,
    now: Micros,
    later: impl FnOnce(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let opens = match value.block(now).map(|block| block.lasting.until(now)) {
        None => now,
        Some(Until::At(end)) => end,
        Some(Until::Forever) => return RetryAfter::Never,
    };
    let under_limits = retry.limits.max(RetryAfter::until(opens, now));
    match if retry.pinned { pin_end(value, now) } else { None } {
        Some(end) if !is_before(under_limits, end, now) => {
            wait_beyond(main, value, end.max(opens), now, later)
        }
        _ => under_limits,
    }
}

/// The end of the pin that holds now.
fn pin_end(value: &RateLimit, now: Micros) -> Option<Micros> {
    value.pin(now)?.lasting.until(now).end()
}

/// Whether a wait is over before `end`.
fn is_before(wait: RetryAfter, end: Micros, now: Micros) -> bool {
    match wait {
        RetryAfter::Now => true,
        RetryAfter::After(us) => now.plus(us) < end,
        RetryAfter::Never => false,
    }
}

/// How long until a request is granted that is decided anew `then`.
fn wait_beyond(
    main: MainThread,
    value: &RateLimit,
    then: Micros,
    now: Micros,
    later: impl FnOnce(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
) -> RetryAfter {
    let wait = if value.stepped_back(main, now) {
        // The first command that grants, denies or changes has recorded it by then.
        let mut recorded = value.simulation();
        let touch = RateLimitEffect { now, expires: false, change: RateLimitChange::Touch { limits: None } };
        match touch.apply(main, Some(&mut recorded)) {
            Ok(_) => later(Some(&recorded), then),
            Err(_) => return RetryAfter::Never,
        }
    } else {
        later(Some(value), then)
    };
    match wait {
        Ok(RetryAfter::Now) => RetryAfter::until(then, now),
        Ok(RetryAfter::After(us)) => RetryAfter::After(then.since(now).saturating_add(us)),
        // What is refused then is not granted by waiting.
        Ok(RetryAfter::Never) | Err(_) => RetryAfter::Never,
    }
}

/// The end of a pin, for whoever looks at each of its limits.
#[derive(Clone, Copy, Debug)]
pub struct PinEnd {
    end: Micros,
    /// How long the request waits that is granted after it.
    beyond: RetryAfter,
}

impl PinEnd {
    /// The end of the pin that holds now, if it has one. `later` as for [`across`].
    pub fn of(
        main: MainThread,
        value: &RateLimit,
        now: Micros,
        later: impl FnOnce(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
    ) -> Option<Self> {
        let end = pin_end(value, now)?;
        Some(Self { end, beyond: wait_beyond(main, value, end, now, later) })
    }

    /// How long until a limit of the pin lets the request through, or holds no more and
    /// the others do.
    pub fn wait(self, limit: RetryAfter, now: Micros) -> RetryAfter {
        if is_before(limit, self.end, now) { limit } else { self.beyond }
    }
}
