//! The report of a call that is over.

use super::answer::ReportOutcome;
use super::permit::Permit;
use super::reporter::Reporter;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the call succeeded.
    pub outcome: ReportOutcome,
    /// The permit of the call, if the caller sends it.
    pub permit: Option<Permit>,
    /// The duration of the call in microseconds, if the caller sends it.
    pub duration_us: Option<u64>,
    /// The reporter of the result.
    pub reporter: Reporter,
}

impl Report {
    /// A report without the name of a reporter.
    pub const fn new(outcome: ReportOutcome, permit: Option<Permit>, duration_us: Option<u64>) -> Self {
        Self { outcome, permit, duration_us, reporter: Reporter::UNNAMED }
    }

    /// Whether it may matter who reports: failures and slow calls count by reporter.
    pub fn may_count_reporter(&self) -> bool {
        self.outcome == ReportOutcome::Fail || self.duration_us.is_some()
    }
}
