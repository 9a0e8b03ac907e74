//! The reservations of a key, and the places that they hold.

use super::RateLimit;
use super::key_usage::KeyUsage;
use super::reservations::Reservations;
use crate::core::limits::{Limit, Request, Rule, State};
use crate::core::reservations::{Book, Places, PlacesAsked, Stage};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;
use crate::types::intern::LimitsRef;

impl RateLimit {
    /// True if there are reservations, open or remembered.
    #[inline]
    pub(in crate::types) fn has_reservations(&self) -> bool {
        self.as_full().is_some_and(|full| full.reservations.is_some())
    }

    /// The reservations of the key as of the last change. `None` if there are none.
    pub fn book(&self) -> Option<&Book<LimitsRef>> {
        Some(self.reservations()?.book()).filter(|book| !book.is_empty())
    }

    /// The reservations of the key with their accounts, as of the last change. `None` if there are
    /// none.
    #[inline]
    pub fn reservations(&self) -> Option<&Reservations> {
        self.as_full()?.reservations.as_deref()
    }

    /// The stage of a reservation at `now`, even if it is not recorded yet. `None` if there is none of
    /// this ID, or it is forgotten.
    pub fn stage_of(&self, main: MainThread, id: &[u8], now: Micros) -> Option<Stage> {
        let all = self.reservations()?.at(main, now);
        let one = all.book().get(id)?;
        one.stage_at(now).or_else(|| {
            let in_use = self.with_listed(main, |listed, states| {
                all.in_use_until(main, KeyUsage { listed, states, unlisted: self.unlisted() }, one, now)
            });
            (in_use > now).then_some(Stage::Ended)
        })
    }

    /// Records the time for the reservations, notes which have ended by then, and forgets those whose
    /// units are gone. True if there are any. The usage must not have units yet that the accounts of
    /// the reservations do not know of.
    #[inline]
    pub(in crate::types) fn sweep(&mut self, main: MainThread, now: Micros) -> bool {
        match self.full_mut() {
            Some(full) if full.reservations.is_some() => {
                full.sweep(main, now);
                true
            }
            _ => false,
        }
    }
}

/// Sets `states` for each `concurrent` limit to the places that are held on it, for a decision on a
/// request. A reservation that is taken now would end at `next`.
pub fn hold(
    main: MainThread,
    value: Option<&RateLimit>,
    limits: &[Limit],
    states: &mut [State],
    now: Micros,
    next: Micros,
    request: &Request,
) {
    let reservations = value.and_then(RateLimit::reservations);
    for (limit, state) in limits.iter().zip(states) {
        let asked = || PlacesAsked { now, next, demand: request.least(limit) };
        let held = || match reservations {
            Some(reservations) => reservations.held(main, limit, asked()),
            None => Places::default().held(limit, asked()),
        };
        match limit.rule() {
            Rule::Concurrent(_) => *state = State::Concurrent(held()),
            // Named one by one: an algorithm with HOLDS_PLACES needs a row above.
            Rule::Unlimited | Rule::Sliding(_) | Rule::Bucket(_) | Rule::Fixed(_) | Rule::Throttle(_) => {}
        }
    }
}
