//! Which alerts start, last and end.

use super::minute::AlertTally;
use super::{AlertKind, ENOUGH, KINDS, Thresholds};
use crate::core::time::Micros;
use std::collections::VecDeque;

/// A figure must be below its threshold for so long before its alert ends.
pub const CALM_US: u64 = 60_000_000;
/// Where too few events happened to judge a figure, its alert ends after so long.
pub const UNJUDGED_US: u64 = 600_000_000;

/// What there is to hold against a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The figure.
    Is(u64),
    /// Too few events happened to tell.
    TooFew,
}

impl Figure {
    /// The figure of what happened in a minute, rounded down; `None` for a kind
    /// that is not counted there.
    pub fn of(kind: AlertKind, tally: &AlertTally) -> Option<Self> {
        let of_enough = |all: u64, figure: u64| if all < ENOUGH { Self::TooFew } else { Self::Is(figure) };
        let percent = |part: u64, of: u64| {
            let figure = u128::from(part) * 100 / u128::from(of.max(1));
            of_enough(of, u64::try_from(figure).unwrap_or(u64::MAX))
        };
        Some(match kind {
            AlertKind::ErrorRate => percent(tally.failures, tally.results),
            AlertKind::BatchFailures => percent(tally.items_denied, tally.items),
            AlertKind::ResponseTime => of_enough(tally.timed, tally.time_us / tally.timed.max(1) / 1000),
            AlertKind::BreakerOpenings => Self::Is(tally.openings),
            AlertKind::Latency => Self::Is(tally.stall),
            AlertKind::Queue | AlertKind::BreakerOpen => return None,
        })
    }
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What is wrong.
    pub kind: AlertKind,
    /// The key that had more than half of it when it started, where one surely had.
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

/// Since when a lasting alert would be over, if nothing else comes.
#[derive(Clone, Copy, Debug, Default)]
struct Calm {
    /// When its figure was last found to reach the threshold.
    bad: Micros,
    /// Since when the figure is below.
    below: Option<Micros>,
    /// Since when there are too few events to judge it.
    unjudged: Option<Micros>,
}

impl Calm {
    /// Takes note of a figure. True when the alert is over.
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
        // A clock that stepped back makes what began later begin now.
        let lasted = |since: &mut Micros, us: u64| {
            *since = (*since).min(now);
            now.since(*since) >= us
        };
        self.below.as_mut().is_some_and(|since| lasted(since, CALM_US))
            || self.unjudged.as_mut().is_some_and(|since| lasted(since, UNJUDGED_US))
            // The two in turn, neither long enough.
            || lasted(&mut self.bad, CALM_US + UNJUDGED_US)
    }
}

/// Alerts that last, and those of before; the newest last.
#[derive(Debug, Default)]
pub struct History {
    alerts: VecDeque<Alert>,
    calm: [Calm; KINDS.len()],
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

    /// Looks at the figures of a moment that nobody looked at while it was there:
    /// which alerts end. None starts by it.
    pub fn look_back(
        &mut self,
        at: Micros,
        figure: impl Fn(AlertKind) -> Figure,
        thresholds: &Thresholds,
    ) -> Vec<AlertTransition> {
        let mut transitions = Vec::new();
        for (kind, calm) in KINDS.into_iter().zip(&mut self.calm) {
            let lasting = self.alerts.iter_mut().find(|alert| alert.kind == kind && alert.ended.is_none());
            let Some(alert) = lasting else { continue };
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

    /// Ends whatever lasts.
    pub fn end_all(&mut self, now: Micros) -> Vec<AlertTransition> {
        let lasting = self.alerts.iter_mut().filter(|alert| alert.ended.is_none());
        lasting
            .map(|alert| {
                alert.ended = Some(now.max(alert.started));
                AlertTransition::Ends(alert.clone())
            })
            .collect()
    }

    /// Those remembered, the newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().rev()
    }

    /// Those that last.
    pub fn lasting(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.ended.is_none())
    }
}

fn remember(alerts: &mut VecDeque<Alert>, alert: Alert) {
    if alerts.len() >= REMEMBERED {
        // Those that last are never among the oldest of so many for long.
        let oldest = alerts.iter().position(|alert| alert.ended.is_some()).unwrap_or(0);
        alerts.remove(oldest);
    }
    alerts.push_back(alert);
}
