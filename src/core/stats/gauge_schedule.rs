//! Gauges of what changes by time alone, and counts of what ended by it, though
//! nobody touches the things that they are of.
//!
//! Whoever owns a thing says what the gauges change by when its time comes, and
//! takes that back when the thing changes or goes. So nothing is known of the
//! things themselves: neither names nor where they are. Planning, taking back and
//! each moment that passes cost O(log n) of what is planned.
//!
//! A clock that steps back takes the gauges back with it. What was counted stays
//! counted, and is not counted again when its time comes once more.

use crate::core::time::Micros;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// What `G` gauges change by, and what `C` counts go up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeStep<const G: usize, const C: usize> {
    /// What each gauge changes by.
    pub gauges: [i32; G],
    /// What each count goes up by.
    pub counts: [u32; C],
}

#[derive(Debug)]
struct GaugeMoment<const G: usize, const C: usize> {
    step: GaugeStep<G, C>,
    /// What of the counts has been counted.
    counted: [u32; C],
    /// How many steps make it up.
    steps: u32,
}

/// `G` gauges and `C` counts.
#[derive(Debug)]
pub struct GaugeSchedule<const G: usize, const C: usize> {
    /// What was planned up to here has come.
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
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { now: Micros(0), moments: BTreeMap::new(), gauges: [0; G], counts: [0; C] }
    }

    /// It is `now`. What comes is counted, unless it is somebody else's to count.
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

    /// The gauges change now, for a thing that comes (or, with the sign turned, goes).
    pub fn change(&mut self, by: [i32; G], sign: i64) {
        shift(&mut self.gauges, &by, sign);
    }

    /// A thing will change the gauges at `at`. Where that is past, it does at once;
    /// it is then counted only where `counts`.
    pub fn plan(&mut self, at: Micros, step: &GaugeStep<G, C>, counts: bool) {
        let moment = self.moments.entry(at).or_insert(GaugeMoment {
            step: GaugeStep { gauges: [0; G], counts: [0; C] },
            counted: [0; C],
            steps: 0,
        });
        moment.steps = moment.steps.saturating_add(1);
        moment.step.add(step);
        if at <= self.now {
            shift(&mut self.gauges, &step.gauges, 1);
            moment.count(&mut self.counts, counts);
        }
    }

    /// Takes back what was planned.
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
        moment.step.take(step);
        for (counted, count) in moment.counted.iter_mut().zip(moment.step.counts) {
            *counted = (*counted).min(count);
        }
    }

    /// The gauges.
    pub fn gauges(&self) -> [u64; G] {
        self.gauges.map(|gauge| u64::try_from(gauge).unwrap_or(0))
    }

    /// The counts.
    pub const fn counts(&self) -> [u64; C] {
        self.counts
    }

    /// How many moments are planned, those included that have passed.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether nothing is planned.
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
    fn add(&mut self, other: &Self) {
        for (gauge, by) in self.gauges.iter_mut().zip(other.gauges) {
            *gauge = gauge.saturating_add(by);
        }
        for (count, by) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(by);
        }
    }

    fn take(&mut self, other: &Self) {
        for (gauge, by) in self.gauges.iter_mut().zip(other.gauges) {
            *gauge = gauge.saturating_sub(by);
        }
        for (count, by) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_sub(by);
        }
    }
}

impl<const G: usize, const C: usize> GaugeMoment<G, C> {
    /// Its time has come.
    fn count(&mut self, counts: &mut [u64; C], counted_here: bool) {
        for ((sum, counted), count) in counts.iter_mut().zip(&mut self.counted).zip(self.step.counts) {
            if counted_here {
                *sum = sum.saturating_add(u64::from(count.saturating_sub(*counted)));
            }
            *counted = count;
        }
    }
}
