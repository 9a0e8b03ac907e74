//! Who waits on this server.

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

/// A key of a database.
pub(super) type DbKey = (i32, Arc<[u8]>);

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ask: QueuedRequest,
    pub(super) since: Micros,
    pub(super) client: Blocked,
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) by_key: WaitQueues<DbKey, Waiter, Forecast>,
    /// What was decided for those that have left their line and are being unblocked:
    /// some servers ask for it at once, some a little later.
    pub(super) outcomes: HashMap<WaiterId, (QueuedRequest, Result<RateLimitReply, Error>, Blocked)>,
    /// Denials that are not counted towards the usage of their keys yet: a
    /// client whose time is up is told where nothing may be written.
    pub(super) uncounted: Vec<(DbKey, QueuedRequest)>,
}

static QUEUES: MainThreadCell<Option<Queues>> = MainThreadCell::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Whether anybody waits anywhere on this server.
#[inline]
pub fn any() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

pub(super) fn with<R>(main: MainThread, run: impl FnOnce(&mut Queues) -> R) -> R {
    let mut queues = QUEUES.of(main).borrow_mut();
    let queues = queues.get_or_insert_default();
    let result = run(queues);
    WAITING.store(queues.by_key.waiting(), Ordering::Relaxed);
    result
}

pub(super) fn place(ctx: &Context<'_>, name: Arg<'_>) -> DbKey {
    (ctx.database(), name.bytes().into())
}

/// Whether a line stands on this key.
#[inline]
pub fn has_queue(ctx: &Context<'_>, name: Arg<'_>) -> bool {
    any() && key_filter::perhaps(name.bytes()) && length(ctx, name) > 0
}

#[cold]
pub(super) fn length(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    with(ctx.main(), |queues| queues.by_key.length(&place(ctx, name)))
}

impl Queues {
    pub(super) fn join(&mut self, place: &DbKey, waiter: Waiter, due: Option<Micros>) {
        self.by_key.join(place, waiter, due);
        if self.by_key.length(place) == 1 {
            key_filter::add(&place.1);
        }
    }

    pub(super) fn leave(&mut self, ticket: WaiterId) -> Option<(DbKey, Waiter)> {
        let (place, waiter) = self.by_key.leave(ticket)?;
        if self.by_key.length(&place) == 0 {
            key_filter::remove(&place.1);
        }
        Some((place, waiter))
    }

    /// When to be woken.
    pub(super) fn next(&mut self, now: Micros) -> Option<Micros> {
        self.by_key.time_is(now);
        if self.uncounted.is_empty() { self.by_key.next_due() } else { Some(now) }
    }
}
