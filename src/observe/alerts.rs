//! Alerts on the figures of the last minute. Masters look at them whenever the server's timer
//! fires.

use crate::core::stats::alerts::{
    Alert, AlertKind, AlertTally, AlertTransition, Blamed, EndedCalls, Figure, History, RollingMinute,
    Thresholds,
};
use crate::core::time::Micros;
use crate::observe::key_mask;
use crate::server::context::{self, Context};
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::stall;
use crate::settings;
use serde::Serialize;
use std::ffi::CStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The channel on which alerts are published.
pub const CHANNEL: &CStr = c"floodgate:alerts";

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, check), (Event::RoleChanged, check)];

#[derive(Debug, Default)]
struct AlertWatch {
    minute: RollingMinute,
    history: History,
    /// When the figures were last looked at.
    looked: Micros,
    /// The figures of layers above at that time: how full the queues are, and which breaker is
    /// open.
    queues: WorstFigure,
    open: WorstFigure,
    /// When the breakers were last looked at, by the clock of commands and by the real clock.
    looked_at_breakers: Option<(Micros, Instant)>,
    /// The alert transitions that are not published yet.
    untold: Vec<AlertTransition>,
}

static WATCH: MainThreadCell<Option<AlertWatch>> = MainThreadCell::new(None);

fn with<R>(main: MainThread, run: impl FnOnce(&mut AlertWatch) -> R) -> R {
    run(WATCH.of(main).borrow_mut().get_or_insert_default())
}

/// The longest stall of the server in the last minute, in milliseconds.
pub fn longest_stall(main: MainThread) -> u64 {
    let now = context::now(main);
    with(main, |watch| watch.minute.sum(now).stall)
}

/// The time for which the breaker that opened first has not been closed, in seconds, as of the last
/// look.
pub fn longest_open(main: MainThread) -> u64 {
    with(main, |watch| watch.open.value)
}

/// Counts calls that ended.
#[inline]
pub fn ended(main: MainThread, key: &[u8], now: Micros, calls: EndedCalls) {
    with(main, |watch| watch.minute_at(main, now).ended(now, key, calls));
}

/// Counts the opening of a breaker, at a time that may be in the past.
pub fn opened(ctx: &Context<'_>, key: &[u8], at: Micros) {
    let (main, now) = (ctx.main(), ctx.now());
    with(main, |watch| watch.minute_at(main, now).opened(now, at, key));
}

/// Counts a batch of `items` items that was decided. `denied` gives the keys of the denied items.
pub fn batch<'a>(main: MainThread, now: Micros, items: u64, denied: impl Iterator<Item = &'a [u8]>) {
    with(main, |watch| {
        let minute = watch.minute_at(main, now);
        minute.items(now, items);
        denied.for_each(|key| minute.item_denied(now, key));
    });
}

/// The worst figure of its kind, and the key that is to blame for it, if one is.
#[derive(Clone, Debug, Default)]
pub struct WorstFigure {
    /// The figure: a fullness in percent, or a time in seconds.
    pub value: u64,
    /// The key.
    pub key: Option<Vec<u8>>,
}

static QUEUES: OnceLock<fn(MainThread) -> WorstFigure> = OnceLock::new();
static BREAKERS: OnceLock<fn(&Context<'_>) -> WorstFigure> = OnceLock::new();

/// Registers `fullness`, how full the longest queue is or all queues together in percent, for the
/// alert on a full queue. Call it once, when the module is loaded.
pub fn on_queue_check(fullness: fn(MainThread) -> WorstFigure) {
    // A second call would come from a second load, with the same function.
    let _ = QUEUES.set(fullness);
}

/// Registers `longest`, the seconds for which the breaker that opened first has not been closed, for
/// the alert on an open breaker. Call it once, when the module is loaded.
pub fn on_breaker_check(longest: fn(&Context<'_>) -> WorstFigure) {
    // A second call would come from a second load, with the same function.
    let _ = BREAKERS.set(longest);
}

/// The breakers are looked at again after this many microseconds by the clock of commands, or after
/// [`BREAKERS_IN_FACT`] by the real clock. A look opens the key of each breaker, in the mode that
/// leaves no trace.
const BREAKERS_US: u64 = 1_000_000;
const BREAKERS_IN_FACT: Duration = Duration::from_millis(500);

/// The step in microseconds in which moments are looked at later, if nobody looked at the time.
const STEP_US: u64 = 1_000_000;

/// The number of such steps after which all events have left the minute.
const STEPS: u64 = 61;

/// Looks at the figures, because the server's timer fired or its role changed.
fn check(ctx: &Context<'_>) {
    let (main, now) = (ctx.main(), ctx.now());
    if !ctx.flags().master() {
        // From now on the new master reports what is wrong.
        let ended = with(main, |watch| {
            let mut ended = std::mem::take(&mut watch.untold);
            ended.extend(watch.history.end_all(now));
            if watch.looked > Micros::default() {
                *watch = AlertWatch { history: std::mem::take(&mut watch.history), ..AlertWatch::default() };
            }
            ended
        });
        return ended.iter().for_each(|transition| publish(ctx, transition));
    }
    let queues = QUEUES.get().map(|fullness| fullness(main)).unwrap_or_default();
    let last = with(main, |watch| watch.looked_at_breakers);
    let due = last
        .is_none_or(|(last, at)| now.0.abs_diff(last.0) >= BREAKERS_US || at.elapsed() >= BREAKERS_IN_FACT);
    let open = BREAKERS.get().filter(|_| due).map(|longest| longest(ctx));
    let thresholds = settings::alert_thresholds(main);
    let transitions = with(main, |watch| {
        watch.look_back(now, &thresholds);
        watch.minute.stalled(now, stall::last_ms(main));
        watch.queues = queues;
        if let Some(open) = open {
            watch.open = open;
            watch.looked_at_breakers = Some((now, Instant::now()));
        }
        watch.looked = now;
        watch.check(now, &thresholds);
        std::mem::take(&mut watch.untold)
    });
    for transition in &transitions {
        publish(ctx, transition);
    }
}

impl AlertWatch {
    /// The figure of a kind, with this minute's events.
    fn figure(&self, kind: AlertKind, tally: &AlertTally) -> Figure {
        Figure::of(kind, tally).unwrap_or(match kind {
            AlertKind::BreakerOpen => Figure::Is(self.open.value),
            _ => Figure::Is(self.queues.value),
        })
    }

    /// The minute, for counting an event of now. If nobody looked for long, the past is looked at
    /// before.
    #[inline]
    fn minute_at(&mut self, main: MainThread, now: Micros) -> &mut RollingMinute {
        if self.looked.plus(STEP_US) < now {
            self.look_back(now, &settings::alert_thresholds(main));
        }
        &mut self.minute
    }

    /// Looks at the time between the last look and `now`, in which a figure may have been below its
    /// threshold for long.
    #[cold]
    fn look_back(&mut self, now: Micros, thresholds: &Thresholds) {
        let looked = std::mem::replace(&mut self.looked, now);
        if looked == Micros::default() || self.history.active().next().is_none() {
            return;
        }
        for step in 1..=STEPS {
            let at = looked.plus(step * STEP_US);
            if at >= now {
                break;
            }
            let tally = self.minute.sum(at);
            let mut history = std::mem::take(&mut self.history);
            let ended = history.look_back(at, |kind| self.figure(kind, &tally), thresholds);
            self.history = history;
            self.untold.extend(ended);
        }
    }

    fn check(&mut self, now: Micros, thresholds: &Thresholds) {
        let tally = self.minute.sum(now);
        let mut history = std::mem::take(&mut self.history);
        let transitions =
            history.check(now, |kind| self.figure(kind, &tally), thresholds, |kind| self.blamed(now, kind));
        self.history = history;
        self.untold.extend(transitions);
    }

    /// The key that certainly has most of what an alert is about.
    fn blamed(&self, now: Micros, kind: AlertKind) -> Option<Vec<u8>> {
        let of = match kind {
            AlertKind::ErrorRate => Blamed::Failures,
            AlertKind::BreakerOpenings => Blamed::Openings,
            AlertKind::ResponseTime => Blamed::Time,
            AlertKind::BatchFailures => Blamed::Denials,
            AlertKind::Queue => return self.queues.key.clone(),
            AlertKind::BreakerOpen => return self.open.key.clone(),
            AlertKind::Stall => return None,
        };
        self.minute.blamed(now, of).map(<[u8]>::to_vec)
    }
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    alert: &'static str,
    /// The transition: `start` or `end`.
    state: &'static str,
    key: Option<&'a str>,
    value: u64,
    peak: u64,
    threshold: u64,
    unit: &'static str,
    started_at_ms: u64,
    ended_at_ms: Option<u64>,
}

fn publish(ctx: &Context<'_>, change: &AlertTransition) {
    let (state, alert) = match change {
        AlertTransition::Starts(alert) => ("start", alert),
        AlertTransition::Ends(alert) => ("end", alert),
    };
    let key = alert.key.as_deref().map(|key| key_mask::shown_text(ctx.main(), key));
    let message = Message {
        event: "alert",
        alert: alert.kind.name(),
        state,
        key: key.as_deref(),
        value: alert.value,
        peak: alert.peak,
        threshold: alert.threshold,
        unit: alert.kind.unit(),
        started_at_ms: alert.started.0 / 1000,
        ended_at_ms: alert.ended.map(|at| at.0 / 1000),
    };
    if let Ok(text) = serde_json::to_vec(&message) {
        ctx.publish(CHANNEL, &text);
    }
}

/// The remembered alerts, the newest first.
pub fn recent(main: MainThread) -> Vec<Alert> {
    with(main, |watch| watch.history.recent().cloned().collect())
}

/// The number of alerts that last.
pub fn active(main: MainThread) -> u64 {
    with(main, |watch| watch.history.active().count() as u64)
}
