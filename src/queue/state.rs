//! The state of the queues: who waits on this server.

use super::forecast::Forecast;
use super::key_filter;
use crate::core::time::Micros;
use crate::core::wait_queue::{WaitQueues, WaiterClass, WaiterId};
use crate::limiter::Error;
use crate::limiter::reply::RateLimitReply;
use crate::queue::request::QueuedRequest;
use crate::server::blocking::Blocked;
use crate::server::context::{self, Context};
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::db_key::DbKey;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) queued: QueuedRequest<'static>,
    pub(super) since: Micros,
    /// The time by which the wait has ended, by the steady clock.
    pub(super) until: Instant,
    pub(super) client: Blocked,
}

impl Waiter {
    /// The time by which the wait has ended, by the present clock. `None` while the debug clock is set:
    /// nobody knows how far that will have moved by then.
    pub(super) fn ends(&self, main: MainThread) -> Option<Micros> {
        let left = || self.until.saturating_duration_since(Instant::now()).as_micros();
        (!context::debug_clock_is_set(main))
            .then(|| context::now(main).plus(u64::try_from(left()).unwrap_or(u64::MAX)))
    }
}

/// What became of a client that waited.
#[derive(Debug)]
pub(super) struct WaitOutcome {
    pub(super) queued: QueuedRequest<'static>,
    pub(super) reply: Result<RateLimitReply, Error>,
    pub(super) client: Blocked,
}

#[derive(Debug, Default)]
pub(super) struct Queues {
    pub(super) waiters: WaitQueues<DbKey, Waiter, Forecast>,
    /// The ends of waits that are still to come.
    ends: BTreeSet<(Instant, WaiterId)>,
    /// What became of clients that have left their queue and are being unblocked. Some servers ask for
    /// the reply at once, others a little later.
    pub(super) outcomes: HashMap<WaiterId, WaitOutcome>,
    /// Denials that are not yet counted towards the usage of their keys. A client whose timeout
    /// passes is answered at a moment at which nothing may be written.
    pub(super) uncounted: Vec<(DbKey, QueuedRequest<'static>)>,
    /// The IDs that were reserved on a key since the last look. Those who wait with such an ID are
    /// retries.
    pub(super) reserved: HashMap<DbKey, HashSet<Box<[u8]>>>,
}

static QUEUES: MainThreadCell<Option<Queues>> = MainThreadCell::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// True if anybody waits anywhere on this server.
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

/// True if this key has a queue.
#[inline]
pub fn has_queue(ctx: &Context<'_>, name: Arg<'_>) -> bool {
    any_waiting() && key_filter::may_contain(name.bytes()) && length(ctx, name) > 0
}

#[cold]
pub(super) fn length(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    with(ctx.main(), |queues| queues.waiters.length(&DbKey::of(ctx, name)))
}

/// True if somebody waits whom a request of this class that comes now may not overtake.
#[inline]
pub(super) fn is_behind(ctx: &Context<'_>, name: Arg<'_>, class: WaiterClass, now: Micros) -> bool {
    let may = any_waiting() && key_filter::may_contain(name.bytes());
    may && is_behind_at(ctx.main(), &DbKey::of(ctx, name), class, now)
}

/// The same as [`is_behind`]. A waiter whose wait has ended is in nobody's way, also before the server
/// has answered it.
#[cold]
pub(super) fn is_behind_at(main: MainThread, db_key: &DbKey, class: WaiterClass, now: Micros) -> bool {
    with(main, |queues| {
        let mut ahead = queues.waiters.ahead_of(db_key, class, None);
        ahead.any(|(_, waiter)| waiter.ends(main).is_none_or(|ends| now < ends))
    })
}

/// Notes that a reservation with this ID was granted on a key. Those who wait there with the same ID
/// get it at the next look, which the change of the key brings about.
#[inline]
pub fn note_reserved(ctx: &Context<'_>, name: Arg<'_>, id: &[u8]) {
    if has_queue(ctx, name) {
        with(ctx.main(), |queues| queues.note_reserved(&DbKey::of(ctx, name), id));
    }
}

impl Queues {
    pub(super) fn note_reserved(&mut self, db_key: &DbKey, id: &[u8]) {
        self.reserved.entry(db_key.clone()).or_default().insert(id.into());
    }

    pub(super) fn join(&mut self, db_key: &DbKey, waiter: Waiter, due: Option<Micros>) {
        let (until, class) = (waiter.until, waiter.queued.class());
        let id = self.waiters.join(db_key, waiter, class, due);
        self.ends.insert((until, id));
        if self.waiters.length(db_key) == 1 {
            key_filter::add(&db_key.name);
        }
    }

    pub(super) fn leave(&mut self, id: WaiterId) -> Option<(DbKey, Waiter)> {
        let (db_key, waiter) = self.waiters.leave(id)?;
        self.ends.remove(&(waiter.until, id));
        if self.waiters.length(&db_key) == 0 {
            key_filter::remove(&db_key.name);
        }
        Some((db_key, waiter))
    }

    /// When to look at a queue next.
    pub(super) fn next(&mut self, now: Micros) -> Option<Micros> {
        self.waiters.time_is(now);
        if self.uncounted.is_empty() { self.waiters.next_due() } else { Some(now) }
    }

    /// The end of the wait that ends next.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// The clients whose wait has ended, each once. Left alone, some servers look only ten times a second
    /// for them, and if the wall clock stepped back, all look later by the step.
    pub(super) fn take_ended(&mut self) -> Vec<Blocked> {
        let (now, mut ended) = (Instant::now(), Vec::new());
        while self.next_end().is_some_and(|end| end <= now) {
            let waiter = self.ends.pop_first().and_then(|(_, id)| self.waiters.waiter(id));
            ended.extend(waiter.map(|waiter| waiter.client));
        }
        ended
    }
}
