//! The lengths of the queues, for RL.QUEUE, INFO and alerts.

use super::state::{any_waiting, with};
use crate::core::text::percent::whole_percent;
use crate::observe::alerts::WorstFigure;
use crate::observe::metrics::Gauge;
use crate::server::context::{self, Context};
use crate::server::ffi::args::Arg;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::db_key::DbKey;

/// The queue of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// The number of waiters.
    pub length: u64,
    /// The longest time that a waiter has waited, in milliseconds; 0 for an empty queue.
    pub oldest_ms: u64,
    /// The units that the head asks for; 0 for an empty queue.
    pub head_cost: u64,
}

/// The queue of the key `name` in the context's database.
pub fn queue_status(ctx: &Context<'_>, name: Arg<'_>) -> QueueStatus {
    let now = ctx.now();
    let db_key = DbKey::of(ctx, name);
    with(ctx.main(), |queues| {
        let oldest = queues.waiters.fronts(&db_key).map(|waiter| now.since(waiter.since) / 1000).max();
        let oldest_ms = oldest.unwrap_or(0);
        let head_cost = queues.waiters.head(&db_key).map_or(0, |(_, waiter)| waiter.queued.request().cost);
        QueueStatus { length: queues.waiters.length(&db_key) as u64, oldest_ms, head_cost }
    })
}

/// The gauges of the queues for INFO and RL.METRICS.
pub static GAUGES: &[Gauge] = &[
    ("waiting_now", waiting),
    ("waiting_oldest_ms", oldest_ms),
    ("waiting_fullest_percent", |main| fullness(main).value),
];

/// The number of waiters on this server.
fn waiting(main: MainThread) -> u64 {
    with(main, |queues| queues.waiters.waiting() as u64)
}

/// The longest time that a waiter has waited, in milliseconds.
fn oldest_ms(main: MainThread) -> u64 {
    let now = context::now(main);
    let oldest =
        with(main, |queues| queues.waiters.all_fronts().map(|waiter| now.since(waiter.since) / 1000).max());
    oldest.unwrap_or(0)
}

/// How full the longest queue is, or all queues together, whichever is more.
pub fn fullness(main: MainThread) -> WorstFigure {
    if !any_waiting() {
        return WorstFigure::default();
    }
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    with(main, |queues| {
        let percent = |n: usize, of: usize| whole_percent(n as u64, of as u64);
        let all = percent(queues.waiters.waiting(), waiters_max);
        queues.waiters.longest().map_or(WorstFigure { value: all, key: None }, |(db_key, length)| {
            let longest = percent(length, queue_max);
            // If all queues together are fuller, the longest one is to blame if it has more than
            // half of the waiters.
            let to_blame = longest >= all || length.saturating_mul(2) > queues.waiters.waiting();
            WorstFigure { value: all.max(longest), key: to_blame.then(|| db_key.name.to_vec()) }
        })
    })
}
