//! The usage of a key as other limits than its own see it.

use super::RateLimit;
use super::key_usage::KeyUsage;
use crate::core::limits::{Limit, MAX_UNLISTED, State, count_unlisted, give_back, look_by_position};
use crate::core::time::Micros;
use crate::server::main_thread::MainThread;

impl RateLimit {
    /// The units that a refund would give back. Changes nothing.
    pub fn refundable(&self, main: MainThread, limits: &[Limit], now: Micros, units: u64) -> u64 {
        let back = |(rule, state): (&Limit, &State)| {
            let units = if rule.per_call() { 1 } else { units };
            give_back(rule, &mut state.clone(), now, 0, units)
        };
        self.with_listed(main, |own, states| {
            let usage = KeyUsage { listed: own, states, unlisted: self.unlisted() };
            let used = limits.iter().filter_map(|limit| usage.of(limit));
            used.map(back).max().unwrap_or(0)
        })
    }

    /// The usage that the limits in `wanted` would take over, as a decision sees it.
    pub fn seen_by(&self, main: MainThread, wanted: &[Limit], now: Micros) -> Vec<State> {
        self.with_seen(main, wanted, now, <[_]>::to_vec)
    }

    /// Reads the usage that the limits in `wanted` would take over, as a decision sees it.
    pub fn with_seen<R>(
        &self,
        main: MainThread,
        wanted: &[Limit],
        now: Micros,
        read: impl FnOnce(&[State]) -> R,
    ) -> R {
        let unlisted = self.unlisted();
        let seen = self.with_listed(main, |old, states| look_by_position(old, states, unlisted, wanted, now));
        read(seen.get(..wanted.len()).unwrap_or(&seen))
    }

    /// True if the key has room for the usage of all limits that a grant under `wanted` would set
    /// aside.
    pub fn has_room_for(&self, main: MainThread, wanted: &[Limit], now: Micros) -> bool {
        let unlisted = self.unlisted();
        // In nearly all cases the sum of both fits, and no limit must be looked at.
        self.with_listed(main, |old, states| {
            unlisted.len() + old.len() <= MAX_UNLISTED
                || count_unlisted(old, states, unlisted, wanted, now) <= MAX_UNLISTED
        })
    }
}
