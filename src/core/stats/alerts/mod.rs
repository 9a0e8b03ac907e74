//! What is watched, what makes it an alert, and since when.
//!
//! | file | idea |
//! |---|---|
//! | [`minute`] | what happened in the last minute, whenever it is told |
//! | [`heaviest`] | which key weighs most, with what it surely weighs |
//! | [`history`] | which alerts start, last and end |
//!
//! Seven figures, each against a threshold. An alert starts when its figure
//! reaches the threshold, and ends when the figure has been below it for a whole
//! minute. Where too few events happened to judge a figure, its alert neither
//! starts nor ends; after ten minutes of that it ends.

pub mod heaviest;
pub mod history;
pub mod minute;

pub use history::{Alert, AlertTransition, Figure, History, REMEMBERED};
pub use minute::{AlertTally, Blamed, RollingMinute};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// Failures of all results reported, in percent.
    ErrorRate,
    /// How full the fullest waiting line is, or all together, in percent.
    Queue,
    /// Openings of breakers.
    BreakerOpenings,
    /// How long the breaker that is open for longest has not been closed, in seconds.
    BreakerOpen,
    /// How long the reported calls took on average, in milliseconds.
    ResponseTime,
    /// Denied items of batches, in percent.
    BatchFailures,
    /// The longest that the server kept everybody waiting, in milliseconds.
    Latency,
}

/// Everything that is watched.
pub const KINDS: [AlertKind; 7] = [
    AlertKind::ErrorRate,
    AlertKind::Queue,
    AlertKind::BreakerOpenings,
    AlertKind::BreakerOpen,
    AlertKind::ResponseTime,
    AlertKind::BatchFailures,
    AlertKind::Latency,
];

/// Fewer events than this in the last minute say nothing about a rate or an average.
pub const ENOUGH: u64 = 10;

impl AlertKind {
    /// As alerts and settings call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error-rate",
            Self::Queue => "queue",
            Self::BreakerOpenings => "breaker-openings",
            Self::BreakerOpen => "breaker-open",
            Self::ResponseTime => "response-time",
            Self::BatchFailures => "batch-failures",
            Self::Latency => "latency",
        }
    }

    /// What its figure counts.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::ErrorRate | Self::Queue | Self::BatchFailures => "percent",
            Self::BreakerOpenings => "openings",
            Self::BreakerOpen => "seconds",
            Self::ResponseTime | Self::Latency => "ms",
        }
    }
}

/// From which figure on each is an alert; 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Percent of results.
    pub error_rate: u64,
    /// Percent of what a line holds.
    pub queue: u64,
    /// Openings a minute.
    pub breaker_openings: u64,
    /// Seconds.
    pub breaker_open: u64,
    /// Milliseconds.
    pub response_time: u64,
    /// Percent of items.
    pub batch_failures: u64,
    /// Milliseconds.
    pub latency: u64,
}

impl Thresholds {
    /// That of one kind.
    pub const fn of(&self, kind: AlertKind) -> u64 {
        match kind {
            AlertKind::ErrorRate => self.error_rate,
            AlertKind::Queue => self.queue,
            AlertKind::BreakerOpenings => self.breaker_openings,
            AlertKind::BreakerOpen => self.breaker_open,
            AlertKind::ResponseTime => self.response_time,
            AlertKind::BatchFailures => self.batch_failures,
            AlertKind::Latency => self.latency,
        }
    }
}
