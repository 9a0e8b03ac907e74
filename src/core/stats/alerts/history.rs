//! The history of alerts: which start, last and end.

use super::minute::AlertTally;
use super::{AlertKind, ENOUGH, KINDS, Thresholds};
use crate::core::text::percent::whole_percent;
use crate::core::time::Micros;
use std::collections::VecDeque;

/// The time in microseconds for which a figure must be below its threshold before its alert ends.
pub const CALM_US: u64 = 60_000_000;
/// The time in microseconds after which an alert ends whose figure rests on too few events.
pub const UNJUDGED_US: u64 = 600_000_000;

/// A figure to compare with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The value of the figure.
    Is(u64),
    /// There were too few events for a figure.
    TooFew,
}

impl Figure {
    /// The figure of a minute's events, rounded down. `None` for a kind that they do not determine.
    pub fn of(kind: AlertKind, tally: &AlertTally) -> Option<Self> {
        let of_enough = |all: u64, figure: u64| if all < ENOUGH { Self::TooFew } else { Self::Is(figure) };
        let percent = |part: u64, of: u64| of_enough(of, whole_percent(part, of));
        Some(match kind {
            AlertKind::ErrorRate => percent(tally.failures, tally.results),
            AlertKind::BatchFailures => percent(tally.items_denied, tally.items),
            AlertKind::ResponseTime => of_enough(tally.timed, tally.time_us / tally.timed.max(1) / 1000),
            AlertKind::BreakerOpenings => Self::Is(tally.openings),
            AlertKind::Stall => Self::Is(tally.stall),
            AlertKind::Queue | AlertKind::BreakerOpen => return None,
        })
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The figure that reached its threshold.
    pub kind: AlertKind,
    /// The key that certainly had more than half of it when the alert started, if there was one.
    pub key: Option<Vec<u8>>,
    /// The figure when the alert started.
    pub value: u64,
    /// The highest figure so far.
    pub peak: u64,
    /// The threshold when the alert started.
    pub threshold: u64,
    /// When the alert started.
    pub started: Micros,
    /// The end of the alert; `None` while the alert lasts.
    pub ended: Option<Micros>,
}

/// The number of alerts that are remembered.
pub const REMEMBERED: usize = 128;

/// The times that decide when an active alert ends.
#[derive(Clone, Copy, Debug, Default)]
struct Calm {
    /// The time at which the figure of the alert last reached the threshold.
    bad: Micros,
    /// Since when the figure is below the threshold.
    below: Option<Micros>,
    /// Since when there are too few events for a figure.
    unjudged: Option<Micros>,
}

impl Calm {
    /// Records a figure. True if the alert is over.
    fn is_over(&mut self, now: Micros, figure: Figure, threshold: u64) -> bool {
        match figure {
            Figure::Is(value) if value >= threshold => {
                *self = Self { bad: now, below: None, unjudged: None };
            }
            Figure::Is(_) => {
                self.unjudged = None;
                self.below.get_or_insert(now);
            }
            Figure::TooFew => {
                self.below = None;
                self.unjudged.get_or_insert(now);
            }
        }
        // After the clock stepped back, what began later begins now.
        let lasted = |since: &mut Micros, us: u64| {
            *since = (*since).min(now);
            now.since(*since) >= us
        };
        self.below.as_mut().is_some_and(|since| lasted(since, CALM_US))
            || self.unjudged.as_mut().is_some_and(|since| lasted(since, UNJUDGED_US))
            // Both alternate, and neither lasts long enough.
            || lasted(&mut self.bad, CALM_US + UNJUDGED_US)
    }
}

/// The alerts that last, and earlier ones, the newest last.
#[derive(Debug, Default)]
pub struct History {
    alerts: VecDeque<Alert>,
    calm: [Calm; KINDS.len()],
}

/// A change that a look at the figures made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertTransition {
    /// The alert starts.
    Starts(Alert),
    /// The alert ends.
    Ends(Alert),
}

impl History {
    /// Looks at the figures of now. Returns the alerts that start and those that end.
    pub fn check(
        &mut self,
        now: Micros,
        figure: impl Fn(AlertKind) -> Figure,
        thresholds: &Thresholds,
        blamed: impl Fn(AlertKind) -> Option<Vec<u8>>,
    ) -> Vec<AlertTransition> {
        let mut transitions = self.look_back(now, &figure, thresholds);
        for (kind, calm) in KINDS.into_iter().zip(&mut self.calm) {
            let threshold = thresholds.of(kind);
            let Figure::Is(value) = figure(kind) else { continue };
            let lasts = self.alerts.iter().any(|alert| alert.kind == kind && alert.ended.is_none());
            if threshold == 0 || value < threshold || lasts {
                continue;
            }
            let key = blamed(kind);
            let alert = Alert { kind, key, value, peak: value, threshold, started: now, ended: None };
            *calm = Calm { bad: now, below: None, unjudged: None };
            remember(&mut self.alerts, alert.clone());
            transitions.push(AlertTransition::Starts(alert));
        }
        transitions
    }

    /// Looks at the figures of a past moment at which nobody looked. Returns the alerts that end.
    /// None starts.
    pub fn look_back(
        &mut self,
        at: Micros,
        figure: impl Fn(AlertKind) -> Figure,
        thresholds: &Thresholds,
    ) -> Vec<AlertTransition> {
        let mut transitions = Vec::new();
        for (kind, calm) in KINDS.into_iter().zip(&mut self.calm) {
            let active = self.alerts.iter_mut().find(|alert| alert.kind == kind && alert.ended.is_none());
            let Some(alert) = active else { continue };
            let threshold = thresholds.of(kind);
            let figure = figure(kind);
            if threshold > 0
                && let Figure::Is(value) = figure
            {
                alert.peak = alert.peak.max(value);
            }
            if threshold == 0 || calm.is_over(at, figure, threshold) {
                alert.ended = Some(at.max(alert.started));
                transitions.push(AlertTransition::Ends(alert.clone()));
            }
        }
        transitions
    }

    /// Ends all alerts that last.
    pub fn end_all(&mut self, now: Micros) -> Vec<AlertTransition> {
        let active = self.alerts.iter_mut().filter(|alert| alert.ended.is_none());
        active
            .map(|alert| {
                alert.ended = Some(now.max(alert.started));
                AlertTransition::Ends(alert.clone())
            })
            .collect()
    }

    /// The remembered alerts, the newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().rev()
    }

    /// The alerts that last.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.ended.is_none())
    }
}

fn remember(alerts: &mut VecDeque<Alert>, alert: Alert) {
    if alerts.len() >= REMEMBERED {
        // An alert that lasts is one of at most seven, so among this many an older one has ended.
        let oldest = alerts.iter().position(|alert| alert.ended.is_some()).unwrap_or(0);
        alerts.remove(oldest);
    }
    alerts.push_back(alert);
}
