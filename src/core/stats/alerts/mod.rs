//! The figures that alerts watch, and when an alert starts and ends.
//!
//! | file | idea |
//! |---|---|
//! | [`minute`] | the events of the last minute, whenever they are reported |
//! | [`heaviest`] | the keys that weigh most, with their certain weight |
//! | [`history`] | which alerts start, last and end |
//!
//! There are seven figures, each with a threshold. An alert starts when its figure reaches the
//! threshold, and ends when the figure has been below it for a whole minute. If too few events
//! happened for a figure, its alert neither starts nor ends. After ten minutes of that it ends.

pub mod heaviest;
pub mod history;
pub mod minute;

pub use history::{Alert, AlertTransition, Figure, History, REMEMBERED};
pub use minute::{AlertTally, Blamed, EndedCalls, RollingMinute};

/// A figure that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// The share of failures among all reported results, in percent.
    ErrorRate,
    /// How full the fullest queue is, or all queues together, in percent.
    Queue,
    /// The number of openings of breakers.
    BreakerOpenings,
    /// The time for which the breaker that opened first has not been closed, in seconds.
    BreakerOpen,
    /// The average duration of the reported calls, in milliseconds.
    ResponseTime,
    /// The share of denied items of batches, in percent.
    BatchFailures,
    /// The longest stall of the server, in milliseconds. Users see it as `latency`.
    Stall,
}

/// All figures that are watched.
pub const KINDS: [AlertKind; 7] = [
    AlertKind::ErrorRate,
    AlertKind::Queue,
    AlertKind::BreakerOpenings,
    AlertKind::BreakerOpen,
    AlertKind::ResponseTime,
    AlertKind::BatchFailures,
    AlertKind::Stall,
];

/// The number of events in the last minute below which a rate or an average says nothing.
pub const ENOUGH: u64 = 10;

impl AlertKind {
    /// The name that alerts and settings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error-rate",
            Self::Queue => "queue",
            Self::BreakerOpenings => "breaker-openings",
            Self::BreakerOpen => "breaker-open",
            Self::ResponseTime => "response-time",
            Self::BatchFailures => "batch-failures",
            Self::Stall => "latency",
        }
    }

    /// The unit of the figure.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::ErrorRate | Self::Queue | Self::BatchFailures => "percent",
            Self::BreakerOpenings => "openings",
            Self::BreakerOpen => "seconds",
            Self::ResponseTime | Self::Stall => "ms",
        }
    }
}

/// The value from which on each figure is an alert; 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// The share of failures in percent of all results.
    pub error_rate: u64,
    /// The fullness in percent of what a queue holds.
    pub queue: u64,
    /// The number of openings in a minute.
    pub breaker_openings: u64,
    /// The time for which a breaker is open, in seconds.
    pub breaker_open: u64,
    /// The average duration of calls, in milliseconds.
    pub response_time: u64,
    /// The share of denied items in percent of all items.
    pub batch_failures: u64,
    /// The longest stall of the server, in milliseconds.
    pub stall: u64,
}

impl Thresholds {
    /// The threshold of one figure.
    pub const fn of(&self, kind: AlertKind) -> u64 {
        match kind {
            AlertKind::ErrorRate => self.error_rate,
            AlertKind::Queue => self.queue,
            AlertKind::BreakerOpenings => self.breaker_openings,
            AlertKind::BreakerOpen => self.breaker_open,
            AlertKind::ResponseTime => self.response_time,
            AlertKind::BatchFailures => self.batch_failures,
            AlertKind::Stall => self.stall,
        }
    }
}
