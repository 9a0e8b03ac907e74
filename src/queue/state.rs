//! The state of the queues: who waits on this server.

use super::forecast::Forecast;
use super::key_filter;
use crate::core::time::Micros;
use crate::core::wait_queue::{WaitQueues, WaiterId};
use crate::limiter::Error;
use crate::limiter::reply::RateLimitReply;
use crate::queue::request::QueuedRequest;
use crate::server::blocking::Blocked;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key by its database and its name.
pub(super) type DbKey = (i32, Arc<[u8]>);

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) queued: QueuedRequest,
    pub(super) since: Micros,
    pub(super) client: Blocked,
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) waiters: WaitQueues<DbKey, Waiter, Forecast>,
    /// The decisions for clients that have left their queue and are being unblocked. Some servers
    /// ask for the reply at once, others a little later.
    pub(super) outcomes: HashMap<WaiterId, (QueuedRequest, Result<RateLimitReply, Error>, Blocked)>,
    /// Denials that are not yet counted towards the usage of their keys. A client whose timeout
    /// passes is answered at a moment at which nothing may be written.
    pub(super) uncounted: Vec<(DbKey, QueuedRequest)>,
}

static QUEUES: MainThreadCell<Option<Queues>> = MainThreadCell::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether anybody waits anywhere on this server.
#[inline]
pub fn any_waiting() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Runs `run` on the queues, which are borrowed meanwhile. So `run` must not call a function of the
/// server that can call back into the module (see the guide's page on threads).
pub(super) fn with<R>(main: MainThread, run: impl FnOnce(&mut Queues) -> R) -> R {
    let mut queues = QUEUES.of(main).borrow_mut();
    let queues = queues.get_or_insert_default();
    let result = run(queues);
    WAITING.store(queues.waiters.waiting(), Ordering::Relaxed);
    result
}

pub(super) fn db_key(ctx: &Context<'_>, name: Arg<'_>) -> DbKey {
    (ctx.database(), name.bytes().into())
}

/// Whether this key has a queue.
#[inline]
pub fn has_queue(ctx: &Context<'_>, name: Arg<'_>) -> bool {
    any_waiting() && key_filter::may_contain(name.bytes()) && length(ctx, name) > 0
}

#[cold]
pub(super) fn length(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    with(ctx.main(), |queues| queues.waiters.length(&db_key(ctx, name)))
}

impl Queues {
    pub(super) fn join(&mut self, db_key: &DbKey, waiter: Waiter, due: Option<Micros>) {
        self.waiters.join(db_key, waiter, due);
        if self.waiters.length(db_key) == 1 {
            key_filter::add(&db_key.1);
        }
    }

    pub(super) fn leave(&mut self, id: WaiterId) -> Option<(DbKey, Waiter)> {
        let (db_key, waiter) = self.waiters.leave(id)?;
        if self.waiters.length(&db_key) == 0 {
            key_filter::remove(&db_key.1);
        }
        Some((db_key, waiter))
    }

    /// When to look at a queue next.
    pub(super) fn next(&mut self, now: Micros) -> Option<Micros> {
        self.waiters.time_is(now);
        if self.uncounted.is_empty() { self.waiters.next_due() } else { Some(now) }
    }
}
