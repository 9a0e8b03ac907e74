//! Serving the lines whose time has come.

use super::state::{any, with};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterId;
use crate::limiter::Error;
use crate::limiter::apply;
use crate::limiter::apply::EffectBatch;
use crate::limiter::reply::signed;
use crate::observe::{metrics, top};
use crate::queue::moves::plan;
use crate::queue::request;
use crate::queue::request::QueuedRequest;
use crate::queue::state::DbKey;
use crate::server::context::Context;
use crate::server::door;
use crate::server::ffi::call::{OwnedString, key_is_served_here};
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::types::ratelimit::RateLimit;

/// How long to leave a line alone while it must not move (CLIENT PAUSE, the server
/// refuses writes, a slot on its way).
const HELD_UP_US: u64 = 20_000;

/// Looks at every line whose time has come.
pub(super) fn wake(ctx: &Context<'_>) {
    let main = ctx.main();
    if !ctx.flags().master() {
        // A replica's clients are unblocked by the server.
        with(main, |queues| queues.uncounted.clear());
        return wake_timer::set(main, None);
    }
    if !door::is_open(ctx) {
        return wake_timer::set(main, Some(signed(HELD_UP_US / 1000)));
    }
    let now = ctx.now();
    with(main, |queues| queues.by_key.time_is(now));
    while let Some(place) = with(main, |queues| queues.by_key.take_due(now)) {
        let mut ended = Vec::new();
        let due = ctx.in_database(place.0, || serve(ctx, &place, now, &mut ended));
        with(main, |queues| queues.by_key.look_at(&place, due));
        answer(main, &ended);
    }
    for (place, ask) in with(main, |queues| std::mem::take(&mut queues.uncounted)) {
        ctx.in_database(place.0, || count_denial(ctx, &place, &ask, now));
    }
    plan(main);
}

/// Serves the line while its head can be, and puts those whose wait ends into
/// `ended`. Returns when to look again.
fn serve(ctx: &Context<'_>, place: &DbKey, now: Micros, ended: &mut Vec<WaiterId>) -> Option<Micros> {
    let main = ctx.main();
    let name = OwnedString::new(ctx, &place.1);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        // The server redirects its clients in a moment.
        return Some(now.plus(HELD_UP_US));
    }
    let mut key = ctx.write(name.arg());
    loop {
        let (ticket, ask) = with(main, |queues| {
            let (ticket, waiter) = queues.by_key.head(place)?;
            Some((ticket, waiter.ask.clone()))
        })?;
        let decision = key
            .value::<RateLimit>()
            .map_err(Error::from)
            .and_then(|held| ask.decide(ctx, &place.1, held.as_deref(), now));
        let outcome = match decision {
            Err(error) => Err(error),
            Ok(decision) => {
                let reply = decision.reply();
                let granted = reply.granted > 0;
                if granted {
                    metrics::count(main, |m| &mut m.waiting_served);
                } else if let RetryAfter::Never = reply.status.retry {
                    // It asks for more than there is now: nobody behind it should wait for that.
                    with(main, |queues| queues.uncounted.push((place.clone(), ask.clone())));
                } else {
                    record_clock(ctx, &mut key, &ask, &decision, now);
                    let us = if let RetryAfter::After(us) = reply.status.retry { us } else { 0 };
                    return Some(now.plus(us.max(1)));
                }
                let done = if granted { grant(ctx, &mut key, &ask, &decision, now) } else { Ok(()) };
                decision.count(main);
                top::decided(main, &place.1, granted, now);
                done.map(|()| reply)
            }
        };
        with(main, |queues| {
            if let Some((_, waiter)) = queues.leave(ticket) {
                queues.outcomes.insert(ticket, (waiter.ask, outcome, waiter.client));
            }
        });
        ended.push(ticket);
    }
}

/// Has those answered whose wait has ended; [`answer_client`] tells each. Their key is
/// closed by now: some servers ask for the answer at once.
///
/// [`answer_client`]: crate::queue::answer::answer_client
fn answer(main: MainThread, ended: &[WaiterId]) {
    for ticket in ended {
        // One that has gone meanwhile has no handle any more.
        let client = with(main, |queues| queues.outcomes.get(ticket).map(|(_, _, client)| *client));
        if let Some(client) = client {
            client.answer();
        }
    }
}

/// Takes what a waiter is granted; what is taken and what is counted travel as one.
fn grant(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    ask: &QueuedRequest,
    decision: &request::QueuedDecision,
    now: Micros,
) -> Result<(), Error> {
    let main = ctx.main();
    let counted = ask.counted(main, key.value::<RateLimit>()?.as_deref(), decision.reply().granted);
    let mut together = EffectBatch::new(ctx);
    ask.change(main, decision, now, |change| {
        together.apply(ctx, key, &apply::effect(ctx, now, change), ask.event())
    })?;
    if let Some(counted) = counted {
        together.apply(ctx, key, &apply::effect(ctx, now, counted), ask.event())?;
    }
    together.propagate(ctx);
    Ok(())
}

/// Records a clock that stepped back, where the head met that: else it would wait its
/// time anew at each look.
fn record_clock(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    ask: &QueuedRequest,
    decision: &request::QueuedDecision,
    now: Micros,
) {
    // A denial records nothing else, and what does not fit stays as it is.
    let _ = ask.change(ctx.main(), decision, now, |change| {
        apply::commit(ctx, key, &apply::effect(ctx, now, change), ask.event()).map(drop)
    });
}

/// Counts a denial towards the usage of its key, where that is tracked.
fn count_denial(ctx: &Context<'_>, place: &DbKey, ask: &QueuedRequest, now: Micros) {
    let name = OwnedString::new(ctx, &place.1);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        return;
    }
    let mut key = ctx.write(name.arg());
    // A key of another type by now has no usage.
    let Ok(held) = key.value::<RateLimit>() else { return };
    let counted = ask.counted(ctx.main(), held.as_deref(), 0);
    if let Some(counted) = counted {
        let _ = apply::commit(ctx, &mut key, &apply::effect(ctx, now, counted), ask.event());
    }
}

/// RL.DEBUG moved the clock: so do the lines, at once.
pub fn clock_changed(ctx: &Context<'_>) {
    if any() {
        with(ctx.main(), |queues| queues.by_key.touch_all(|_| true));
        wake(ctx);
    }
}
