//! The admission of a request to a queue: it passes, waits or is denied.

use super::behind::{QueueAhead, decide_at};
use super::moves::set_timer;
use super::state::{Waiter, has_queue, is_behind, is_behind_at, with};
use super::{answer, moves, serve};
use crate::core::limits::Request;
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::acquire::{self, AcquireDecision};
use crate::limiter::resolve::KeyView;
use crate::observe::metrics;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::server::blocking::{self, BlockedClientHandler};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::reply::signed;
use crate::server::keys::key::ReadKey;
use crate::server::keys::keyspace;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::settings;
use crate::types::db_key::DbKey;
use crate::types::ratelimit::RateLimit;
use std::time::{Duration, Instant};

const HANDLER: BlockedClientHandler =
    BlockedClientHandler { answer: answer::answer_client, gone: answer::client_gone };

/// Parses `WAIT d`, the time in microseconds for which a caller is ready to wait, at most
/// `wait-max`. 0 means not to wait.
///
/// # Errors
/// The duration is malformed or too long.
pub fn wait_option(main: MainThread, arg: Arg<'_>) -> Result<u64, Error> {
    let us = duration::parse(arg.bytes())?;
    let most = settings::wait_max_us(main);
    if us > most {
        let expected = format!("at most {}ms (setting wait-max)", most / 1000);
        return Err(Error::Range { name: "WAIT", expected });
    }
    Ok(us)
}

/// The outcome for a request that may meet a queue, or that may wait.
#[derive(Debug)]
pub enum QueueAdmission {
    /// Nobody in a queue is in its way, and no waiter makes a denial longer.
    NoQueue,
    /// The request waits now, and gets its reply later.
    Enqueued,
    /// The request is denied.
    Denied(Box<QueuedDecision>),
}

/// Decides a request on a key that may have a queue: it waits behind those whom it may not overtake, or
/// is denied.
///
/// # Errors
/// Those of the decision itself.
pub fn admit(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    queued: &QueuedRequest<'_>,
    wait_us: u64,
    now: Micros,
) -> Result<QueueAdmission, Error> {
    let db_key = DbKey::of(ctx, key.name());
    let class = queued.class();
    if class == WaiterClass::Ordinary && !is_behind_at(ctx.main(), &db_key, class, now) {
        return Ok(QueueAdmission::NoQueue);
    }
    let held = key.value::<RateLimit>()?;
    let decision = decide_at(KeyView::of(ctx, key.name(), held.as_deref(), now), &db_key, queued)?;
    let reply = decision.reply();
    if reply.granted > 0 {
        return Ok(QueueAdmission::NoQueue);
    }
    // One that is the head now is looked at soon.
    let may_wait = reply.status.retry != RetryAfter::Never;
    Ok(if may_wait && join(ctx, key, queued, wait_us, RetryAfter::Now, now) {
        QueueAdmission::Enqueued
    } else {
        QueueAdmission::Denied(decision.into())
    })
}

/// The same as [`acquire::decide`], but a request is denied if somebody waits whom it may not overtake.
/// Every command uses it that takes units and does not wait.
///
/// # Errors
/// The same as [`acquire::decide`].
#[inline]
pub fn decide(
    ctx: &Context<'_>,
    name: Arg<'_>,
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<AcquireDecision, Error> {
    let found = KeyView::of(ctx, name, value, now);
    if !has_queue(ctx, name) {
        return acquire::decide(found, given, request);
    }
    let db_key = &DbKey::of(ctx, name);
    QueueAhead { found, db_key, class: WaiterClass::of(request.critical), keeps: true }.decide(
        |then| acquire::decide(then, given, request),
        |decision| decision.status_before(found, given, request),
    )
}

/// Puts the client into the key's queue, behind those whom it may not overtake, if it may wait. `retry`
/// says when its units are free, if it is the first. Returns whether the client waits.
pub fn join(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    queued: &QueuedRequest<'_>,
    wait_us: u64,
    retry: RetryAfter,
    now: Micros,
) -> bool {
    let flags = ctx.flags();
    // On a replica that takes writes, nobody would serve the queue.
    if wait_us == 0 || flags.deny_blocking() || !flags.master() {
        return false;
    }
    let main = ctx.main();
    let db_key = DbKey::of(ctx, key.name());
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    let id = with(main, |queues| {
        let full = queues.waiters.length(&db_key) >= queue_max || queues.waiters.waiting() >= waiters_max;
        (!full).then(|| queues.waiters.next_id())
    });
    let Some(id) = id else {
        metrics::count(main, |m| &mut m.waiting_refused);
        return false;
    };
    wake_timer::prepare(ctx, serve::wake);
    keyspace::on_change(moves::on_keyspace_change);
    let timeout_ms = signed(wait_us.div_ceil(1000));
    let client = blocking::block(ctx, key.name(), id, timeout_ms, HANDLER);
    let due = match retry {
        RetryAfter::Now => Some(now),
        RetryAfter::After(us) => Some(now.plus(us)),
        RetryAfter::Never => None,
    };
    // The server ends a wait in the millisecond after its timeout.
    let until = Instant::now() + Duration::from_micros(wait_us) + Duration::from_millis(1);
    let waiter = Waiter { queued: queued.to_owned(), since: now, until, client };
    with(main, |queues| queues.join(&db_key, waiter, due));
    set_timer(main);
    true
}

/// The time until a request of this class that does not wait is granted after those in the queue of its
/// key whom it may not overtake. `None` if nobody of them waits. `retry` decides the request: it returns the time
/// until the request is granted from the moment of its key on, if nobody waits. What can never be
/// granted then is not granted after the queue either. A request that `retry` refuses comes after the
/// queue all the same.
///
/// # Errors
/// The key holds another type.
pub fn retry_behind(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    class: WaiterClass,
    now: Micros,
    retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
) -> Result<Option<RetryAfter>, Error> {
    if !is_behind(ctx, key.name(), class, now) {
        return Ok(None);
    }
    let held = key.value::<RateLimit>()?;
    let found = KeyView::of(ctx, key.name(), held.as_deref(), now);
    if let Ok(RetryAfter::Never) = retry(found) {
        return Ok(Some(RetryAfter::Never));
    }
    let db_key = &DbKey::of(ctx, key.name());
    Ok(Some(QueueAhead { found, db_key, class, keeps: true }.retry(now, retry)))
}
