//! The places that reservations hold on one `concurrent` limit: one each, or as many as their cost.

use super::summed::Summed;
use crate::core::limits::{HeldPlaces, Limit};
use crate::core::time::Micros;

/// A request for places of a `concurrent` limit.
#[derive(Clone, Copy, Debug)]
pub struct PlacesAsked {
    /// The time of the decision.
    pub now: Micros,
    /// The time until which a place that is taken now would be held.
    pub next: Micros,
    /// The number of places that the request asks for.
    pub demand: u64,
}

/// The numbers of places, by the end of the reservations that hold them. Those whose end has passed are free,
/// and may still be counted here.
#[derive(Clone, Debug, Default)]
pub struct Places(Summed<Micros, u64>);

impl Places {
    /// True if no place is counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records that places are held until `end`.
    pub fn hold(&mut self, end: Micros, places: u64) {
        if places > 0 && self.0.change(&end, |there| *there = there.saturating_add(places)).is_none() {
            self.0.insert(end, places);
        }
    }

    /// Records that places that were held until `end` are free.
    pub fn free(&mut self, end: Micros, places: u64) {
        let left = self.0.change(&end, |there| {
            *there = there.saturating_sub(places);
            *there
        });
        if left == Some(0) {
            self.0.remove(&end);
        }
    }

    /// The state of the limit for a decision on this request.
    pub fn held(&self, limit: &Limit, PlacesAsked { now, next, demand }: PlacesAsked) -> HeldPlaces {
        let used = self.0.after(&now);
        let ended = self.0.total() - used;
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        let latest = self.0.last().map_or(now, |(end, _)| *end).max(now);
        // The moment at which a request fits that may use `usable` places.
        let falls = |usable: u64| {
            let target = usable.checked_sub(demand)?;
            let more = used.checked_sub(target).filter(|more| *more > 0)?;
            Some((target, self.0.reached(ended + u128::from(more)).unwrap_or(latest)))
        };
        let capacity = limit.capacity().unwrap_or(0);
        HeldPlaces::new(used, latest, next, [falls(limit.keep().usable(capacity)), falls(capacity)])
    }

    /// The bytes held outside this value itself.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}
