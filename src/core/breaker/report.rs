//! What is said of a call that is over.

use super::answer::ReportOutcome;
use super::permit::Permit;
use super::reporter::Reporter;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it went.
    pub outcome: ReportOutcome,
    /// What admitted it, where the caller says so.
    pub ticket: Option<Permit>,
    /// How long it took, where the caller says so.
    pub duration_us: Option<u64>,
    /// Who says so.
    pub reporter: Reporter,
}

impl Report {
    /// One of nobody in particular.
    pub const fn new(outcome: ReportOutcome, ticket: Option<Permit>, duration_us: Option<u64>) -> Self {
        Self { outcome, ticket, duration_us, reporter: Reporter::UNNAMED }
    }

    /// Whether it may matter who says so: failures and slow calls have reporters.
    pub fn may_count_reporter(&self) -> bool {
        self.outcome == ReportOutcome::Fail || self.duration_us.is_some()
    }
}
