//! The units that the items of a batch want together.

use crate::core::limits::{self, Limit, Request, State};
use crate::core::time::Micros;
use crate::limiter::reply::{Index, RateLimitReply};
use std::collections::HashMap;
use std::slice;

/// The units that the items of a batch so far take from each limit of each key.
#[derive(Debug, Default)]
pub(super) struct Demand<'a>(HashMap<&'a [u8], Vec<(Limit, u64)>>);

impl<'a> Demand<'a> {
    /// Adds the units of an item. Returns its denial if the limits cannot give that much.
    pub(super) fn add(
        &mut self,
        key: &'a [u8],
        limits: &[Limit],
        states: &[State],
        now: Micros,
        request: &Request,
    ) -> Option<RateLimitReply> {
        let mut denial: Option<RateLimitReply> = None;
        for (index, (limit, state)) in limits.iter().zip(states).enumerate() {
            let charged = if limit.per_call() { request.calls } else { request.cost };
            let units = self.of(key, limit).saturating_add(charged);
            let asked = Request { cost: units, calls: units, ..*request };
            let decision = limits::decide(slice::from_ref(limit), slice::from_ref(state), now, &asked);
            // What a shadow limit denies, it does not count.
            if decision.shadow_denied.is_empty() {
                self.set(key, limit, units);
            }
            let status = decision.status;
            if !decision.is_granted() && denial.is_none_or(|longest| status.retry > longest.status.retry) {
                denial = Some(RateLimitReply { granted: 0, status, index: Index::Limit(index) });
            }
        }
        denial
    }

    /// The units that the items so far take from a limit. Under another algorithm it starts fresh.
    fn of(&self, key: &[u8], limit: &Limit) -> u64 {
        let all = self.0.get(key).map_or(&[][..], Vec::as_slice);
        let found = all.iter().find(|(other, _)| other.same_identity(limit));
        found
            .filter(|(other, _)| other.algorithm_name() == limit.algorithm_name())
            .map_or(0, |&(_, units)| units)
    }

    fn set(&mut self, key: &'a [u8], limit: &Limit, units: u64) {
        let all = self.0.entry(key).or_default();
        match all.iter_mut().find(|(other, _)| other.same_identity(limit)) {
            Some(there) => *there = (limit.clone(), units),
            None => all.push((limit.clone(), units)),
        }
    }
}
