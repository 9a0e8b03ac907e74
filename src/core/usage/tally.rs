//! The tally of one key's events.

use super::spend::Spend;

/// A decision on one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The number of units granted.
    pub granted: u64,
    /// The number of units asked for and not granted.
    pub denied: u64,
}

/// The outcome of the work itself, `count` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkOutcome {
    /// True if the work succeeded.
    pub ok: bool,
    /// True if the result came from a cache.
    pub cached: bool,
    /// The number of equal outcomes.
    pub count: u64,
    /// The spend of all of them together.
    pub spend: Spend,
    /// The duration of each in milliseconds.
    pub duration_ms: Option<u64>,
}

/// Counts of events. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTally {
    /// The number of requests that were decided.
    pub requests: u64,
    /// The number of requests of which nothing was granted.
    pub denied_requests: u64,
    /// The number of units granted.
    pub granted: u64,
    /// The number of units denied.
    pub denied: u64,
    /// The number of units used: those granted, corrected by what was settled, given back or
    /// charged later. It is negative if more was given back than was granted in the same time.
    pub used: i64,
    /// The number of outcomes that succeeded.
    pub ok: u64,
    /// The number of outcomes that failed.
    pub fail: u64,
    /// The number of outcomes that came from a cache.
    pub cached: u64,
    /// The spend.
    pub spend: Spend,
}

impl UsageTally {
    /// The tally of one decision.
    pub fn of_decision(decided: Decided) -> Self {
        Self {
            requests: 1,
            denied_requests: (decided.granted == 0).into(),
            granted: decided.granted,
            denied: decided.denied,
            used: i64::try_from(decided.granted).unwrap_or(i64::MAX),
            ..Self::default()
        }
    }

    /// The tally of a correction of a grant by `units`, which may be negative.
    pub fn of_correction(units: i64) -> Self {
        Self { used: units, ..Self::default() }
    }

    /// The tally of an outcome.
    pub fn of_outcome(outcome: &WorkOutcome) -> Self {
        let n = |counts: bool| if counts { outcome.count } else { 0 };
        Self {
            ok: n(outcome.ok),
            fail: n(!outcome.ok),
            cached: n(outcome.cached),
            spend: outcome.spend,
            ..Self::default()
        }
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        for (sum, n) in [
            (&mut self.requests, other.requests),
            (&mut self.denied_requests, other.denied_requests),
            (&mut self.granted, other.granted),
            (&mut self.denied, other.denied),
            (&mut self.ok, other.ok),
            (&mut self.fail, other.fail),
            (&mut self.cached, other.cached),
        ] {
            *sum = sum.saturating_add(n);
        }
        self.used = self.used.saturating_add(other.used);
        self.spend = self.spend.plus(other.spend);
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The number of all outcomes.
    pub const fn outcomes(&self) -> u64 {
        self.ok.saturating_add(self.fail)
    }

    /// The share of failures among the outcomes, 0 to 1; 0 without outcomes.
    ///
    /// ```
    /// use floodgate::core::usage::UsageTally;
    ///
    /// let none = UsageTally::default();
    /// assert_eq!(none.error_rate(), 0.0); // no outcomes, no errors
    /// ```
    pub fn error_rate(&self) -> f64 {
        rate(self.fail, self.outcomes())
    }

    /// The share of outcomes from a cache, 0 to 1; 0 without outcomes.
    pub fn hit_rate(&self) -> f64 {
        rate(self.cached, self.outcomes())
    }
}

#[allow(clippy::cast_precision_loss)] // a rate for people
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
