//! How long a key is worth keeping.

use super::RateLimit;
use crate::core::limits::{Filled, full_at};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern;
use crate::types::until::Until;

/// How long a key is worth keeping after a change.
///
/// The last three variants hold the same end. They differ in how certain it is that the key has the
/// right expiry already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The value equals that of a fresh key, so the key is deleted.
    Over,
    /// The key is kept until it is full again and pin and block have ended; forever while a credit
    /// is in use. The change may have moved this moment, so the expiry must be set.
    Until(Until),
    /// The same as `Until`, and the change probably did not move the moment. The exception is a
    /// clock that stepped back. So the expiry is read, and set only if it differs.
    StillUntil(Until),
    /// The same as `Until`, and the change certainly did not move the moment. So the expiry is not
    /// even read.
    AsBefore(Until),
}

impl Lifetime {
    /// Makes `AsBefore` a `StillUntil` if the key may have no expiry yet (`unset`), so that the
    /// expiry is read.
    #[inline]
    pub(in crate::types) const fn unless_unset(self, unset: bool) -> Self {
        match self {
            Self::AsBefore(until) if unset => Self::StillUntil(until),
            other => other,
        }
    }
}

impl RateLimit {
    /// How long the key is worth keeping, as of `now`.
    pub fn lifetime(&self, main: MainThread, now: Micros) -> Lifetime {
        let listed = self.limits_id().map_or(now, |id| {
            let set = intern::get(main, id);
            self.with_states(|states| full_at(set.limits(), states, now))
        });
        self.lifetime_after(Filled { at: listed, as_before: false }, now)
    }

    /// The same as [`RateLimit::lifetime`], after a change of the listed limits that returned when
    /// they are full again.
    #[inline]
    pub(in crate::types) fn lifetime_after(&self, listed: Filled, now: Micros) -> Lifetime {
        let beside = self.as_full().map_or(Until::At(now), |full| full.lasts_until(now));
        self.lifetime_beside(listed, beside, now)
    }

    /// The same as [`RateLimit::lifetime_after`] for a caller that knows `beside`: until when
    /// everything but the usage of the listed limits is worth keeping.
    #[inline]
    pub(in crate::types) fn lifetime_beside(&self, listed: Filled, beside: Until, now: Micros) -> Lifetime {
        let end = Until::from(listed.at);
        let until = end.max(beside);
        let alone = self.as_full().is_none();
        if !until.lasts(now) {
            Lifetime::Over
        } else if listed.as_before && alone {
            Lifetime::AsBefore(until)
        } else if listed.as_before || until > end {
            // If the clock stepped back, the end of another limit may have come back.
            Lifetime::StillUntil(until)
        } else {
            Lifetime::Until(until)
        }
    }
}
