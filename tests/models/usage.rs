//! Usage by a list of every event.
//!
//! It promises the sums of any hour, of any day, and of all.

use floodgate::core::usage::{Decided, UsageTally, WorkOutcome};

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Decided(Decided),
    Outcome(WorkOutcome),
    Corrected(i64),
}

impl Event {
    pub fn tally(&self) -> UsageTally {
        match self {
            Self::Decided(decided) => UsageTally::of_decision(*decided),
            Self::Outcome(outcome) => UsageTally::of_outcome(outcome),
            Self::Corrected(units) => UsageTally::of_correction(*units),
        }
    }
}

/// Every event with the time under which it is counted.
#[derive(Default)]
pub struct UsageModel(pub Vec<(u64, Event)>);

impl UsageModel {
    pub fn add(&mut self, now: u64, event: Event) {
        self.step_back(now);
        // What is older than 30 days is of interest to the total alone.
        self.0.push((now, event));
    }

    /// What was counted in a future that did not come is counted now.
    pub fn step_back(&mut self, now: u64) {
        for (at, _) in &mut self.0 {
            *at = (*at).min(now);
        }
    }

    pub fn sum(&self, within: impl Fn(u64) -> bool) -> UsageTally {
        let mut sum = UsageTally::default();
        self.0.iter().filter(|(at, _)| within(*at)).for_each(|(_, event)| sum.add(&event.tally()));
        sum
    }
}
