//! Alerts: the figures of the last minute, looked at whenever the server's
//! timer comes round, on masters only.

use crate::core::stats::alerts::{
    Alert, AlertKind, AlertTally, AlertTransition, Blamed, Figure, History, RollingMinute, Thresholds,
};
use crate::core::time::Micros;
use crate::observe::key_mask;
use crate::server::context::{self, Context};
use crate::server::events::{Event, EventListener};
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::cron_lag;
use crate::settings;
use serde::Serialize;
use std::ffi::CStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The channel of alerts.
pub const CHANNEL: &CStr = c"floodgate:alerts";

/// What this part listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, look), (Event::RoleChanged, look)];

#[derive(Debug, Default)]
struct AlertWatch {
    minute: RollingMinute,
    history: History,
    /// When the figures were last looked at.
    looked: Micros,
    /// What layers above said then: how full the queues are, and which breaker is open.
    queues: QueueFullness,
    open: LongestOpen,
    /// When the breakers were last looked at, by the clock and in fact.
    looked_at_breakers: Option<(Micros, Instant)>,
    /// What nobody was told of yet.
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

/// For how long the breaker that is open for longest has not been closed, in seconds,
/// as of the last look.
pub fn longest_open(main: MainThread) -> u64 {
    with(main, |watch| watch.open.seconds)
}

/// The result of `count` calls, and how long each took if that was said.
#[inline]
pub fn result(main: MainThread, key: &[u8], now: Micros, failed: bool, count: u64, duration_us: Option<u64>) {
    with(main, |watch| watch.minute_at(main, now).results(now, key, failed, count, duration_us));
}

/// A breaker opened, at a time that may be past.
pub fn opened(ctx: &Context<'_>, key: &[u8], at: Micros) {
    let (main, now) = (ctx.main(), ctx.now());
    with(main, |watch| watch.minute_at(main, now).opened(now, at, key));
}

/// A batch was decided: so many items, and these of them denied.
pub fn batch<'a>(main: MainThread, now: Micros, items: u64, denied: impl Iterator<Item = &'a [u8]>) {
    with(main, |watch| {
        let minute = watch.minute_at(main, now);
        minute.items(now, items);
        denied.for_each(|key| minute.item_denied(now, key));
    });
}

/// How full the longest queue is, or all of them together.
#[derive(Clone, Debug, Default)]
pub struct QueueFullness {
    /// In percent.
    pub percent: u64,
    /// The key that is to blame, where one is.
    pub key: Option<Arc<[u8]>>,
}

/// The breaker that is open for longest.
#[derive(Clone, Debug, Default)]
pub struct LongestOpen {
    /// For how long it has not been closed.
    pub seconds: u64,
    /// Its key, where it surely has most of the time that breakers were open.
    pub key: Option<Vec<u8>>,
}

static QUEUES: OnceLock<fn(MainThread) -> QueueFullness> = OnceLock::new();
static BREAKERS: OnceLock<fn(&Context<'_>) -> LongestOpen> = OnceLock::new();

/// Has the alert on a full queue ask `fullness`. Once, when the module is loaded.
pub fn watch_queues(fullness: fn(MainThread) -> QueueFullness) {
    // A second call would be a second load: the first function is the same.
    let _ = QUEUES.set(fullness);
}

/// Has the alert on an open breaker ask `longest`. Once, when the module is loaded.
pub fn watch_breakers(longest: fn(&Context<'_>) -> LongestOpen) {
    // As above.
    let _ = BREAKERS.set(longest);
}

/// Breakers are looked at so often, by the clock or in fact: each is a key to open.
const BREAKERS_US: u64 = 1_000_000;
const BREAKERS_IN_FACT: Duration = Duration::from_millis(500);

/// Moments that nobody looked at are looked at later, in steps of this.
const STEP_US: u64 = 1_000_000;

/// After so many of them everything has left the minute.
const STEPS: u64 = 61;

/// The server's timer came round, or the server has another role.
fn look(ctx: &Context<'_>) {
    let (main, now) = (ctx.main(), ctx.now());
    if !ctx.flags().master() {
        // What is wrong from now on is the new master's to tell.
        let ended = with(main, |watch| {
            if watch.looked > Micros::default() {
                let history = std::mem::take(&mut watch.history);
                let untold = std::mem::take(&mut watch.untold);
                *watch = AlertWatch { history, untold, ..AlertWatch::default() };
            }
            let mut ended = std::mem::take(&mut watch.untold);
            ended.extend(watch.history.end_all(now));
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
        watch.minute.stalled(now, cron_lag::late_ms(main));
        watch.queues = queues;
        if let Some(open) = open {
            watch.open = open;
            watch.looked_at_breakers = Some((now, Instant::now()));
        }
        watch.looked = now;
        watch.look(now, &thresholds);
        std::mem::take(&mut watch.untold)
    });
    for transition in &transitions {
        publish(ctx, transition);
    }
}

impl AlertWatch {
    /// The figure of a kind at a moment.
    fn figure(&self, kind: AlertKind, tally: &AlertTally) -> Figure {
        Figure::of(kind, tally).unwrap_or(match kind {
            AlertKind::BreakerOpen => Figure::Is(self.open.seconds),
            _ => Figure::Is(self.queues.percent),
        })
    }

    /// The minute, to count something that happens now. What was in it is looked at
    /// before, where nobody has for long.
    #[inline]
    fn minute_at(&mut self, main: MainThread, now: Micros) -> &mut RollingMinute {
        if self.looked.plus(STEP_US) < now {
            self.look_back(now, &settings::alert_thresholds(main));
        }
        &mut self.minute
    }

    /// Looks at what was between the last look and `now`: a figure may have been below
    /// its threshold for long.
    #[cold]
    fn look_back(&mut self, now: Micros, thresholds: &Thresholds) {
        let looked = std::mem::replace(&mut self.looked, now);
        if looked == Micros::default() || self.history.lasting().next().is_none() {
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

    fn look(&mut self, now: Micros, thresholds: &Thresholds) {
        let tally = self.minute.sum(now);
        let mut history = std::mem::take(&mut self.history);
        let transitions =
            history.look(now, |kind| self.figure(kind, &tally), thresholds, |kind| self.blamed(now, kind));
        self.history = history;
        self.untold.extend(transitions);
    }

    /// The key that surely has most of what an alert is about.
    fn blamed(&self, now: Micros, kind: AlertKind) -> Option<Vec<u8>> {
        let of = match kind {
            AlertKind::ErrorRate => Blamed::Failures,
            AlertKind::BreakerOpenings => Blamed::Openings,
            AlertKind::ResponseTime => Blamed::Time,
            AlertKind::BatchFailures => Blamed::Denials,
            AlertKind::Queue => return self.queues.key.as_deref().map(<[u8]>::to_vec),
            AlertKind::BreakerOpen => return self.open.key.clone(),
            AlertKind::Latency => return None,
        };
        self.minute.blamed(now, of).map(<[u8]>::to_vec)
    }
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    event: &'static str,
    alert: &'static str,
    /// `start` or `end`.
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

/// The alerts remembered, the newest first.
pub fn recent(main: MainThread) -> Vec<Alert> {
    with(main, |watch| watch.history.recent().cloned().collect())
}

/// How many alerts last.
pub fn lasting(main: MainThread) -> u64 {
    with(main, |watch| watch.history.lasting().count() as u64)
}
