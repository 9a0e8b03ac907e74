//! How long the queues are, for RL.QUEUE, INFO and alerts.

use super::state::{any, place, with};
use crate::observe::alerts::QueueFullness;
use crate::observe::metrics::Gauge;
use crate::server::context::{self, Context};
use crate::server::ffi::args::Arg;
use crate::server::main_thread::MainThread;
use crate::settings;
use std::sync::Arc;

/// The queue of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Waiters.
    pub length: u64,
    /// How long the head has waited, in milliseconds; 0 for an empty queue.
    pub oldest_ms: u64,
    /// Units that the head asks for; 0 for an empty queue.
    pub head_cost: u64,
}

/// The queue of the key `name` in the context's database.
pub fn of(ctx: &Context<'_>, name: Arg<'_>) -> QueueStatus {
    let now = ctx.now();
    let place = place(ctx, name);
    with(ctx.main(), |queues| {
        let head = queues.by_key.head(&place);
        let (oldest_ms, head_cost) =
            head.map_or((0, 0), |(_, waiter)| (now.since(waiter.since) / 1000, waiter.ask.cost()));
        QueueStatus { length: queues.by_key.length(&place) as u64, oldest_ms, head_cost }
    })
}

/// What INFO and RL.METRICS tell of the queues.
pub static GAUGES: &[Gauge] = &[
    ("waiting_now", waiting),
    ("waiting_oldest_ms", oldest_ms),
    ("waiting_fullest_percent", |main| fullness(main).percent),
];

/// How many wait on this server.
fn waiting(main: MainThread) -> u64 {
    with(main, |queues| queues.by_key.waiting() as u64)
}

/// How long the longest wait has lasted, in milliseconds.
fn oldest_ms(main: MainThread) -> u64 {
    let now = context::now(main);
    let oldest =
        with(main, |queues| queues.by_key.heads().map(|waiter| now.since(waiter.since) / 1000).max());
    oldest.unwrap_or(0)
}

/// How full the longest line is, or all lines together, whichever is more.
pub fn fullness(main: MainThread) -> QueueFullness {
    if !any() {
        return QueueFullness::default();
    }
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    with(main, |queues| {
        let percent = |n: usize, of: usize| (n as u64).saturating_mul(100) / (of as u64).max(1);
        let all = percent(queues.by_key.waiting(), waiters_max);
        queues.by_key.longest().map_or(QueueFullness { percent: all, key: None }, |((_, key), length)| {
            let longest = percent(length, queue_max);
            // Where all of them together are fullest, it is to blame where it has most.
            let to_blame = longest >= all || length.saturating_mul(2) > queues.by_key.waiting();
            QueueFullness { percent: all.max(longest), key: to_blame.then(|| Arc::clone(key)) }
        })
    })
}
