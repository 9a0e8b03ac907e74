//! Serves the queues whose time has come.

use super::state::{WaitOutcome, Waiter, any_waiting, with};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::{WaiterClass, WaiterId};
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::KeyView;
use crate::limiter::track::Recording;
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue::moves::set_timer;
use crate::queue::request::{QueuedDecision, QueuedRequest};
use crate::server::blocking::Blocked;
use crate::server::context::Context;
use crate::server::ffi::call::{OwnedString, key_is_served_here};
use crate::server::ffi::reply::signed;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::server::write_check;
use crate::types::db_key::DbKey;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;
use std::collections::HashSet;

/// The time in microseconds after which a queue is looked at again that must not move now: clients
/// are paused, the server refuses writes, or the slot is migrating.
const HELD_UP_US: u64 = 20_000;

/// Looks at every queue whose time has come.
pub(super) fn wake(ctx: &Context<'_>) {
    let main = ctx.main();
    if !ctx.flags().master() {
        // The server unblocks the clients of a replica.
        with(main, |queues| {
            queues.uncounted.clear();
            queues.reserved.clear();
        });
        return wake_timer::set(main, None);
    }
    if !write_check::may_write(ctx) {
        return wake_timer::set(main, Some(signed(HELD_UP_US / 1000)));
    }
    let now = ctx.now();
    let ended = with(main, |queues| {
        queues.waiters.time_is(now);
        if ctx.debug_clock_is_set() { Vec::new() } else { queues.take_ended() }
    });
    ended.into_iter().for_each(Blocked::answer);
    while let Some(db_key) = with(main, |queues| queues.waiters.take_due(now)) {
        let mut ended = Vec::new();
        let due = ctx.in_database(db_key.database, || serve(ctx, &db_key, now, &mut ended));
        with(main, |queues| queues.waiters.look_at(&db_key, due));
        answer(main, &ended);
    }
    for (db_key, ids) in with(main, |queues| std::mem::take(&mut queues.reserved)) {
        let mut ended = Vec::new();
        ctx.in_database(db_key.database, || serve_retries(ctx, &db_key, &ids, now, &mut ended));
        answer(main, &ended);
    }
    for (db_key, queued) in with(main, |queues| std::mem::take(&mut queues.uncounted)) {
        ctx.in_database(db_key.database, || count_denial(ctx, &db_key, &queued, now));
    }
    set_timer(main);
}

/// Serves the queue while its head can be served. Waiters whose wait ends are appended to `ended`.
/// Returns when to look at the queue again.
fn serve(ctx: &Context<'_>, db_key: &DbKey, now: Micros, ended: &mut Vec<WaiterId>) -> Option<Micros> {
    let main = ctx.main();
    let name = OwnedString::new(ctx, &db_key.name);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        // The server will soon redirect its clients.
        return Some(now.plus(HELD_UP_US));
    }
    let mut key = ctx.write(name.arg());
    loop {
        let (id, queued) = with(main, |queues| {
            let (id, waiter) = queues.waiters.head(db_key)?;
            Some((id, waiter.queued.clone()))
        })?;
        let outcome = match try_head(ctx, &mut key, db_key, &queued, now) {
            Ok(Head::Waits(until)) => return Some(until),
            Ok(Head::Leaves(reply)) => Ok(reply),
            Err(error) => Err(error),
        };
        if let (Ok(RateLimitReply { granted: 1.., .. }), Some(id)) = (&outcome, queued.id()) {
            with(main, |queues| queues.note_reserved(db_key, id));
        }
        leave(main, id, outcome, ended);
    }
}

/// Ends the wait of those in the queue whose ID is one of `reserved`. They are retries of a request
/// that has just been granted, and get its reservation, wherever they stand.
fn serve_retries(
    ctx: &Context<'_>,
    db_key: &DbKey,
    reserved: &HashSet<Box<[u8]>>,
    now: Micros,
    ended: &mut Vec<WaiterId>,
) {
    let main = ctx.main();
    let name = OwnedString::new(ctx, &db_key.name);
    let key = ctx.read(name.arg());
    let retries: Vec<_> = with(main, |queues| {
        let all = queues.waiters.ahead_of(db_key, WaiterClass::Ordinary, None);
        let retries = all.filter(|(_, waiter)| waiter.queued.id().is_some_and(|id| reserved.contains(id)));
        retries.map(|((_, id), waiter)| (id, waiter.queued.clone())).collect()
    });
    for (id, queued) in retries {
        let Ok(held) = key.value::<RateLimit>() else { return };
        let decided = queued.decide(KeyView { main, name: &db_key.name, value: held.as_deref(), now });
        if let Some(decision) = decided.ok().filter(QueuedDecision::is_retry) {
            metrics::count(main, |m| &mut m.waiting_served);
            decision.count(main);
            leave(main, id, Ok(decision.reply()), ended);
        }
    }
}

/// Ends the wait of a client with this reply.
fn leave(main: MainThread, id: WaiterId, reply: Result<RateLimitReply, Error>, ended: &mut Vec<WaiterId>) {
    with(main, |queues| {
        if let Some((_, waiter)) = queues.leave(id) {
            let Waiter { queued, client, .. } = waiter;
            queues.outcomes.insert(id, WaitOutcome { queued, reply, client });
        }
    });
    ended.push(id);
}

/// The fate of the head of a queue.
enum Head {
    /// The head waits on, at least until this time.
    Waits(Micros),
    /// The head's wait ends with this reply.
    Leaves(RateLimitReply),
}

/// Grants the head's request if it fits now. If the request can never fit, its wait ends too.
fn try_head(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    db_key: &DbKey,
    queued: &QueuedRequest<'static>,
    now: Micros,
) -> Result<Head, Error> {
    let main = ctx.main();
    let decision = {
        let held = key.value::<RateLimit>()?;
        queued.decide(KeyView { main, name: &db_key.name, value: held.as_deref(), now })?
    };
    let reply = decision.reply();
    let granted = reply.granted > 0;
    let mut done = Ok(());
    if decision.is_retry() {
        // A retry is no new request.
        metrics::count(main, |m| &mut m.waiting_served);
        decision.count(main);
        return Ok(Head::Leaves(reply));
    }
    if granted {
        metrics::count(main, |m| &mut m.waiting_served);
        let counted = queued.counted(main, key.value::<RateLimit>()?.as_deref(), reply.granted);
        done = record(ctx, key, queued, &decision, counted, now);
    } else if let RetryAfter::Never = reply.status.retry {
        // The head asks for more than there will ever be. Nobody behind it should wait
        // for that.
        with(main, |queues| queues.uncounted.push((db_key.clone(), queued.clone())));
    } else {
        // A clock that stepped back is recorded. Otherwise the head would wait its full time again at
        // each look. An effect that does not fit changes nothing.
        let _ = record(ctx, key, queued, &decision, None, now);
        let us = if let RetryAfter::After(us) = reply.status.retry { us } else { 0 };
        return Ok(Head::Waits(now.plus(us.max(1))));
    }
    decision.count(main);
    top::decided(main, &db_key.name, RequestOutcome::of(granted), now);
    done.map(|()| Head::Leaves(reply))
}

/// Answers the waiters whose wait has ended, by [`answer_client`]. Their key must be closed before,
/// because some servers ask for the answer at once.
///
/// [`answer_client`]: crate::queue::answer::answer_client
fn answer(main: MainThread, ended: &[WaiterId]) {
    for id in ended {
        // A client that has gone in the meantime has no handle any more.
        let client = with(main, |queues| queues.outcomes.get(id).map(|outcome| outcome.client));
        if let Some(client) = client {
            client.answer();
        }
    }
}

/// Records what the decision asks for, together with the usage of the key.
fn record(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    queued: &QueuedRequest<'_>,
    decision: &QueuedDecision,
    counted: Option<RateLimitChange<'static>>,
    now: Micros,
) -> Result<(), Error> {
    let recording = Recording { ctx, now, event: queued.event() };
    recording.alone(key, counted, |make| queued.change(ctx.main(), decision, now, make))
}

/// Counts a denial towards the usage of its key, if the key is tracked.
fn count_denial(ctx: &Context<'_>, db_key: &DbKey, queued: &QueuedRequest<'_>, now: Micros) {
    let name = OwnedString::new(ctx, &db_key.name);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        return;
    }
    let mut key = ctx.write(name.arg());
    // A key that holds another type by now has no usage.
    let Ok(held) = key.value::<RateLimit>() else { return };
    let counted = queued.counted(ctx.main(), held.as_deref(), 0);
    if let Some(counted) = counted {
        let _ = apply::commit(ctx, &mut key, &apply::effect(ctx, now, counted), queued.event());
    }
}

/// Looks at all queues at once, because RL.DEBUG moved the clock.
pub fn clock_changed(ctx: &Context<'_>) {
    if any_waiting() {
        with(ctx.main(), |queues| queues.waiters.touch_all(|_| true));
        wake(ctx);
    }
}
