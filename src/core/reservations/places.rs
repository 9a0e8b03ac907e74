//! The places that reservations hold on one `concurrent` limit: one each, or as many as
//! their cost.

use super::summed::{Summed, Weighted};
use crate::core::limits::{HeldPlaces, Limit};
use crate::core::time::Micros;

/// How many places end at a time.
#[derive(Clone, Copy, Debug)]
struct Ending(u64);

impl Weighted for Ending {
    fn weight(&self) -> u128 {
        u128::from(self.0)
    }
}

/// Places by the end of who holds them. Those whose end has passed are free, and may
/// still stand here.
#[derive(Clone, Debug, Default)]
pub struct Places(Summed<Micros, Ending>);

impl Places {
    /// True when none stands here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Places are held until `end`.
    pub fn hold(&mut self, end: Micros, places: u64) {
        if places > 0 && self.0.change(&end, |there| there.0 = there.0.saturating_add(places)).is_none() {
            self.0.insert(end, Ending(places));
        }
    }

    /// Places that were held until `end` are held no more.
    pub fn free(&mut self, end: Micros, places: u64) {
        let left = self.0.change(&end, |there| {
            there.0 = there.0.saturating_sub(places);
            there.0
        });
        if left == Some(0) {
            self.0.remove(&end);
        }
    }

    /// What a decision at `now` needs to know on a request of so many places; one taken
    /// now would be held until `next`.
    pub fn held(&self, limit: &Limit, now: Micros, next: Micros, demand: u64) -> HeldPlaces {
        let used = self.0.after(&now);
        let ended = self.0.total() - used;
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        let latest = self.0.last().map_or(now, |(end, _)| *end).max(now);
        // When the request fits: one that may use all, and one that may not.
        let falls = |usable: u64| {
            let target = usable.checked_sub(demand)?;
            let more = used.checked_sub(target).filter(|more| *more > 0)?;
            Some((target, self.0.reached(ended + u128::from(more)).unwrap_or(latest)))
        };
        let capacity = limit.capacity().unwrap_or(0);
        HeldPlaces::new(used, latest, next, [falls(limit.keep().usable(capacity)), falls(capacity)])
    }

    /// Bytes that it holds beside itself.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}
