//! Alerts: the figures of the last minute, looked at whenever the server's
//! timer comes round, on masters only.

use crate::core::stats::alerts::{
    Alert, AlertKind, AlertTally, AlertTransition, History, MajorityVote, RollingMinute,
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

/// The channel of alerts.
pub const CHANNEL: &CStr = c"floodgate:alerts";

/// What this part listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, look)];

#[derive(Debug, Default)]
struct AlertWatch {
    minute: RollingMinute,
    failing: MajorityVote,
    opening: MajorityVote,
    slow: MajorityVote,
    denied: MajorityVote,
    history: History,
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

fn tally(main: MainThread, now: Micros, run: impl FnOnce(&mut AlertTally)) {
    with(main, |watch| run(watch.minute.at(now)));
}

/// The result of `count` calls, and how long each took if that was said.
#[inline]
pub fn result(main: MainThread, key: &[u8], now: Micros, failed: bool, count: u64, duration_us: Option<u64>) {
    with(main, |watch| {
        let tally = watch.minute.at(now);
        tally.results = tally.results.saturating_add(count);
        if failed {
            tally.failures = tally.failures.saturating_add(count);
            watch.failing.blame(key, now);
        }
        if let Some(us) = duration_us {
            tally.timed = tally.timed.saturating_add(count);
            tally.time_us = tally.time_us.saturating_add(us.saturating_mul(count));
            let threshold = settings::alert_thresholds(main).response_time;
            if us / 1000 >= threshold {
                watch.slow.blame(key, now);
            }
        }
    });
}

/// A breaker opened.
pub fn opened(main: MainThread, key: &[u8], now: Micros) {
    with(main, |watch| {
        watch.minute.at(now).openings += 1;
        watch.opening.blame(key, now);
    });
}

/// A batch was decided: so many items, and these of them denied.
pub fn batch<'a>(main: MainThread, now: Micros, items: u64, denied: impl Iterator<Item = &'a [u8]>) {
    with(main, |watch| {
        let mut count = 0;
        for key in denied {
            count += 1;
            watch.denied.blame(key, now);
        }
        let tally = watch.minute.at(now);
        tally.items += items;
        tally.items_denied += count;
    });
}

/// How full the longest queue is in percent, and the key of it.
pub type QueueFullness = fn(MainThread) -> (u64, Option<Arc<[u8]>>);

static QUEUES: OnceLock<QueueFullness> = OnceLock::new();

/// Has the alert on a full queue ask `fullness`. Once, when the module is loaded.
pub fn watch_queues(fullness: QueueFullness) {
    // A second call would be a second load: the first function is the same.
    let _ = QUEUES.set(fullness);
}

/// The server's timer came round.
pub fn look(ctx: &Context<'_>) {
    let (main, now) = (ctx.main(), ctx.now());
    if !ctx.flags().master() {
        // Whatever lasted is the new master's to tell.
        with(main, |watch| {
            watch.history.end_all(now);
            watch.minute = RollingMinute::default();
        });
        return;
    }
    let late = cron_lag::late_ms(main);
    tally(main, now, |tally| tally.stall = tally.stall.max(late));
    let (queue, line) = QUEUES.get().map_or((0, None), |fullness| fullness(main));
    let thresholds = settings::alert_thresholds(main);
    let changes = with(main, |watch| {
        let sum = watch.minute.sum(now);
        let AlertWatch { failing, opening, slow, denied, history, .. } = watch;
        history.look(now, &sum, queue, &thresholds, |kind| {
            let name = match kind {
                AlertKind::ErrorRate => failing.name(),
                AlertKind::Queue => line.as_deref(),
                AlertKind::BreakerOpenings => opening.name(),
                AlertKind::ResponseTime => slow.name(),
                AlertKind::BatchFailures => denied.name(),
                AlertKind::Latency => None,
            };
            name.map(<[u8]>::to_vec)
        })
    });
    for change in changes {
        publish(ctx, &change);
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
