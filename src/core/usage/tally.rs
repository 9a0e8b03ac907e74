//! What is counted.

use super::spend::Spend;

/// What a limiter decided of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Units granted.
    pub granted: u64,
    /// Units asked for and not granted.
    pub denied: u64,
}

/// How the work itself went: `count` times the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkOutcome {
    /// It succeeded.
    pub ok: bool,
    /// It was served from a cache.
    pub cached: bool,
    /// How many there were.
    pub count: u64,
    /// What they cost together.
    pub spend: Spend,
    /// How long each took, in milliseconds.
    pub duration_ms: Option<u64>,
}

/// Counts. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTally {
    /// Requests decided.
    pub requests: u64,
    /// Those of which nothing was granted.
    pub denied_requests: u64,
    /// Units granted.
    pub granted: u64,
    /// Units denied.
    pub denied: u64,
    /// Units used: those granted, corrected by what was settled, given back or
    /// charged since. Below 0 where more was given back than granted meanwhile.
    pub used: i64,
    /// Outcomes that succeeded.
    pub ok: u64,
    /// Outcomes that failed.
    pub fail: u64,
    /// Outcomes served from a cache.
    pub cached: u64,
    /// What was spent.
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

    /// The tally of a grant that turned out to be so many units more, or less.
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

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Outcomes in all.
    pub const fn outcomes(&self) -> u64 {
        self.ok.saturating_add(self.fail)
    }

    /// Failures among the outcomes, 0 ..= 1; 0 without outcomes.
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

    /// Outcomes from a cache, 0 ..= 1; 0 without outcomes.
    pub fn hit_rate(&self) -> f64 {
        rate(self.cached, self.outcomes())
    }
}

#[allow(clippy::cast_precision_loss)] // a rate for people
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
