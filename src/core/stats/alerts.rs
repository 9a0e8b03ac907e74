//! What is watched, what makes it an alert, and since when.
//!
//! Six figures over the last minute, each against a threshold. An alert starts
//! when its figure reaches the threshold and ends when it falls below.

use crate::core::time::Micros;
use std::collections::VecDeque;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// Failures of all results reported, in percent.
    ErrorRate,
    /// How full the fullest waiting line is, or all together, in percent.
    Queue,
    /// Openings of breakers.
    BreakerOpenings,
    /// How long the reported calls took on average, in milliseconds.
    ResponseTime,
    /// Denied items of batches, in percent.
    BatchFailures,
    /// The longest that the server kept everybody waiting, in milliseconds.
    Latency,
}

/// Everything that is watched.
pub const KINDS: [AlertKind; 6] = [
    AlertKind::ErrorRate,
    AlertKind::Queue,
    AlertKind::BreakerOpenings,
    AlertKind::ResponseTime,
    AlertKind::BatchFailures,
    AlertKind::Latency,
];

/// Fewer results than this in the last minute say nothing about a rate.
pub const ENOUGH: u64 = 10;

impl AlertKind {
    /// As alerts and settings call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorRate => "error-rate",
            Self::Queue => "queue",
            Self::BreakerOpenings => "breaker-openings",
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
            AlertKind::ResponseTime => self.response_time,
            AlertKind::BatchFailures => self.batch_failures,
            AlertKind::Latency => self.latency,
        }
    }
}

/// What happened in some time.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertTally {
    /// Results of calls.
    pub results: u64,
    /// Those that failed.
    pub failures: u64,
    /// Items of batches.
    pub items: u64,
    /// Those that were denied.
    pub items_denied: u64,
    /// Openings of breakers.
    pub openings: u64,
    /// Results that said how long the call took.
    pub timed: u64,
    /// How long these took together, in microseconds.
    pub time_us: u64,
    /// The longest stall of the server, in milliseconds.
    pub stall: u64,
}

impl AlertTally {
    fn add(&mut self, other: &Self) {
        self.results = self.results.saturating_add(other.results);
        self.failures = self.failures.saturating_add(other.failures);
        self.items += other.items;
        self.items_denied += other.items_denied;
        self.openings += other.openings;
        self.timed = self.timed.saturating_add(other.timed);
        self.time_us = self.time_us.saturating_add(other.time_us);
        self.stall = self.stall.max(other.stall);
    }

    /// The figure of a kind, rounded down; the queue's is not counted here.
    fn figure(&self, kind: AlertKind, queue: u64) -> u64 {
        let rate = |part: u64, of: u64| if of < ENOUGH { 0 } else { part.saturating_mul(100) / of };
        match kind {
            AlertKind::ErrorRate => rate(self.failures, self.results),
            AlertKind::Queue => queue,
            AlertKind::BreakerOpenings => self.openings,
            AlertKind::ResponseTime if self.timed < ENOUGH => 0,
            AlertKind::ResponseTime => self.time_us / self.timed / 1000,
            AlertKind::BatchFailures => rate(self.items_denied, self.items),
            AlertKind::Latency => self.stall,
        }
    }
}

const SLICES: usize = 12;
const SLICE_US: u64 = 5_000_000;

/// The last minute, in slices of five seconds: what is older than a minute is
/// gone, at the latest; what is younger than 55 seconds is there.
#[derive(Debug, Default)]
pub struct RollingMinute {
    slices: [AlertTally; SLICES],
    newest: u64,
}

impl RollingMinute {
    /// Where to count what happens now.
    #[inline]
    pub fn at(&mut self, now: Micros) -> &mut AlertTally {
        let number = now.0 / SLICE_US;
        if number != self.newest {
            self.turn_to(number);
        }
        let [first, ..] = &mut self.slices;
        // The newest is always in front: turning moves the others back.
        first
    }

    #[cold]
    fn turn_to(&mut self, number: u64) {
        let passed = number.checked_sub(self.newest).and_then(|passed| usize::try_from(passed).ok());
        let passed = passed.unwrap_or(SLICES).min(SLICES);
        self.slices.rotate_right(passed % SLICES);
        self.slices.iter_mut().take(passed).for_each(|slice| *slice = AlertTally::default());
        self.newest = number;
    }

    /// All of it.
    pub fn sum(&mut self, now: Micros) -> AlertTally {
        self.at(now);
        let mut sum = AlertTally::default();
        self.slices.iter().for_each(|slice| sum.add(slice));
        sum
    }
}

/// Who is most to blame for something lately: the majority, if there is one,
/// else someone of the last. Remembers one name only; what is past weighs half
/// as much every five seconds.
#[derive(Debug, Default)]
pub struct MajorityVote {
    name: Vec<u8>,
    votes: u32,
    slice: u64,
}

impl MajorityVote {
    /// This one did it.
    pub fn blame(&mut self, name: &[u8], now: Micros) {
        let slice = now.0 / SLICE_US;
        if slice != self.slice {
            let passed = u32::try_from(slice.abs_diff(self.slice)).unwrap_or(u32::MAX);
            self.votes = self.votes.checked_shr(passed).unwrap_or(0);
            self.slice = slice;
        }
        if self.votes > 0 && self.name != name {
            self.votes -= 1;
        } else {
            if self.votes == 0 {
                self.name.clear();
                self.name.extend_from_slice(name);
            }
            self.votes = self.votes.saturating_add(1);
        }
    }

    /// Who it is.
    pub fn name(&self) -> Option<&[u8]> {
        (!self.name.is_empty()).then_some(&*self.name)
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What is wrong.
    pub kind: AlertKind,
    /// The key most to blame, where there is one.
    pub key: Option<Vec<u8>>,
    /// The figure when it started.
    pub value: u64,
    /// The highest figure so far.
    pub peak: u64,
    /// The threshold when it started.
    pub threshold: u64,
    /// Since when.
    pub started: Micros,
    /// Until when; `None` while it lasts.
    pub ended: Option<Micros>,
}

/// How many alerts are remembered.
pub const REMEMBERED: usize = 128;

/// Alerts that last, and those of before; the newest last.
#[derive(Debug, Default)]
pub struct History {
    alerts: VecDeque<Alert>,
}

/// What a look at the figures changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertTransition {
    /// It starts.
    Starts(Alert),
    /// It ends.
    Ends(Alert),
}

impl History {
    /// Looks at the figures of now: which alerts start, which end.
    pub fn look(
        &mut self,
        now: Micros,
        tally: &AlertTally,
        queue: u64,
        thresholds: &Thresholds,
        blamed: impl Fn(AlertKind) -> Option<Vec<u8>>,
    ) -> Vec<AlertTransition> {
        let mut changes = Vec::new();
        for kind in KINDS {
            let (value, threshold) = (tally.figure(kind, queue), thresholds.of(kind));
            let wrong = threshold > 0 && value >= threshold;
            let lasting = self.alerts.iter_mut().find(|alert| alert.kind == kind && alert.ended.is_none());
            match lasting {
                Some(alert) if wrong => alert.peak = alert.peak.max(value),
                Some(alert) => {
                    alert.ended = Some(now);
                    changes.push(AlertTransition::Ends(alert.clone()));
                }
                None if wrong => {
                    let key = blamed(kind);
                    let alert = Alert { kind, key, value, peak: value, threshold, started: now, ended: None };
                    self.remember(alert.clone());
                    changes.push(AlertTransition::Starts(alert));
                }
                None => {}
            }
        }
        changes
    }

    fn remember(&mut self, alert: Alert) {
        if self.alerts.len() >= REMEMBERED {
            // Those that last are never among the oldest of so many for long.
            let oldest = self.alerts.iter().position(|alert| alert.ended.is_some()).unwrap_or(0);
            self.alerts.remove(oldest);
        }
        self.alerts.push_back(alert);
    }

    /// Ends whatever lasts, untold.
    pub fn end_all(&mut self, now: Micros) {
        self.alerts
            .iter_mut()
            .filter(|alert| alert.ended.is_none())
            .for_each(|alert| alert.ended = Some(now));
    }

    /// Those remembered, the newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().rev()
    }

    /// How many last.
    pub fn lasting(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.ended.is_none())
    }
}
