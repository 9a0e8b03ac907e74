//! Gauges that change as time passes, and counts of what time ended, even while nobody touches the
//! things that they describe.
//!
//! The owner of a thing plans how the gauges change at a later moment, and takes the plan back when
//! the thing changes or is removed. So the schedule knows nothing of the things: neither their
//! names nor where they are. Planning, taking back, and each planned moment that passes take O(log
//! n) for n planned moments.
//!
//! A clock that steps back takes the gauges back with it. What was counted stays counted, and is
//! not counted again when its time comes once more.

use crate::core::time::Micros;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// A change of `G` gauges and `C` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeStep<const G: usize, const C: usize> {
    /// The change of each gauge.
    pub gauges: [i32; G],
    /// The increase of each count.
    pub counts: [u32; C],
}

#[derive(Debug)]
struct GaugeMoment<const G: usize, const C: usize> {
    step: GaugeStep<G, C>,
    /// The part of the counts that has been counted.
    counted: [u32; C],
    /// The number of plans for this moment.
    steps: u32,
}

/// `G` gauges and `C` counts, and their planned changes.
#[derive(Debug)]
pub struct GaugeSchedule<const G: usize, const C: usize> {
    /// The time up to which planned changes have been applied.
    now: Micros,
    moments: BTreeMap<Micros, GaugeMoment<G, C>>,
    gauges: [i64; G],
    counts: [u64; C],
}

fn shift<const G: usize>(gauges: &mut [i64; G], by: &[i32; G], sign: i64) {
    for (gauge, by) in gauges.iter_mut().zip(by) {
        *gauge = gauge.saturating_add(sign * i64::from(*by));
    }
}

impl<const G: usize, const C: usize> GaugeSchedule<G, C> {
    /// A schedule without plans, with gauges and counts of 0.
    pub const fn new() -> Self {
        Self { now: Micros(0), moments: BTreeMap::new(), gauges: [0; G], counts: [0; C] }
    }

    /// Applies what is planned up to `now`. The counts go up only if `counts` is true; otherwise
    /// somebody else counts them.
    pub fn advance(&mut self, now: Micros, counts: bool) {
        let before = std::mem::replace(&mut self.now, now);
        if now < before {
            for (_, moment) in self.moments.range((Excluded(now), Included(before))) {
                shift(&mut self.gauges, &moment.step.gauges, -1);
            }
        } else if before < now {
            for (_, moment) in self.moments.range_mut((Excluded(before), Included(now))) {
                shift(&mut self.gauges, &moment.step.gauges, 1);
                moment.count(&mut self.counts, counts);
            }
        }
    }

    /// Changes the gauges now. `sign` is 1 for a thing that is added and -1 for one that is
    /// removed.
    pub fn change(&mut self, by: [i32; G], sign: i64) {
        shift(&mut self.gauges, &by, sign);
    }

    /// Plans a change of the gauges at `at`. If that has passed, they change at once, and the
    /// counts go up only if `counts` is true.
    pub fn plan(&mut self, at: Micros, step: &GaugeStep<G, C>, counts: bool) {
        let moment = self.moments.entry(at).or_insert(GaugeMoment {
            step: GaugeStep { gauges: [0; G], counts: [0; C] },
            counted: [0; C],
            steps: 0,
        });
        moment.steps = moment.steps.saturating_add(1);
        moment.step.combine(step, i32::saturating_add, u32::saturating_add);
        if at <= self.now {
            shift(&mut self.gauges, &step.gauges, 1);
            moment.count(&mut self.counts, counts);
        }
    }

    /// Takes back a plan.
    pub fn take_back(&mut self, at: Micros, step: &GaugeStep<G, C>) {
        let Some(moment) = self.moments.get_mut(&at) else { return };
        if at <= self.now {
            shift(&mut self.gauges, &step.gauges, -1);
        }
        moment.steps = moment.steps.saturating_sub(1);
        if moment.steps == 0 {
            self.moments.remove(&at);
            return;
        }
        moment.step.combine(step, i32::saturating_sub, u32::saturating_sub);
        for (counted, count) in moment.counted.iter_mut().zip(moment.step.counts) {
            *counted = (*counted).min(count);
        }
    }

    /// The gauges as they are now.
    pub fn gauges(&self) -> [u64; G] {
        self.gauges.map(|gauge| u64::try_from(gauge).unwrap_or(0))
    }

    /// The counts as they are now.
    pub const fn counts(&self) -> [u64; C] {
        self.counts
    }

    /// The number of moments with plans, including those that have passed.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// True if nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }
}

impl<const G: usize, const C: usize> Default for GaugeSchedule<G, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const G: usize, const C: usize> GaugeStep<G, C> {
    fn combine(&mut self, other: &Self, gauge: fn(i32, i32) -> i32, count: fn(u32, u32) -> u32) {
        for (own, by) in self.gauges.iter_mut().zip(other.gauges) {
            *own = gauge(*own, by);
        }
        for (own, by) in self.counts.iter_mut().zip(other.counts) {
            *own = count(*own, by);
        }
    }
}

impl<const G: usize, const C: usize> GaugeMoment<G, C> {
    /// Counts what is planned for this moment, because it has come.
    fn count(&mut self, counts: &mut [u64; C], counted_here: bool) {
        for ((sum, counted), count) in counts.iter_mut().zip(&mut self.counted).zip(self.step.counts) {
            if counted_here {
                *sum = sum.saturating_add(u64::from(count.saturating_sub(*counted)));
            }
            *counted = count;
        }
    }
}
