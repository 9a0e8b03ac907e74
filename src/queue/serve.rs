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
use crate::queue::state::{DbKey, WaitClock, WaitOutcome};
use crate::server::context::Context;
use crate::server::ffi::call::{OwnedString, key_is_served_here};
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::types::ratelimit::RateLimit;

/// How long to leave a line alone while it must not move (CLIENT PAUSE, a slot
/// on its way).
const HELD_UP_US: u64 = 20_000;

/// Looks at every line whose time has come.
pub(super) fn wake(ctx: &Context<'_>) {
    let main = ctx.main();
    if !ctx.flags().master() {
        // A replica's clients are unblocked by the server.
        with(main, |queues| queues.uncounted.clear());
        return wake_timer::set(main, None);
    }
    if ctx.must_not_propagate() {
        return wake_timer::set(main, Some(signed(HELD_UP_US / 1000)));
    }
    let now = ctx.now();
    with(main, |queues| queues.by_key.time_is(now));
    while let Some(place) = with(main, |queues| queues.by_key.take_due(now)) {
        let due = ctx.in_database(place.0, || serve(ctx, &place, now));
        with(main, |queues| queues.by_key.look_at(&place, due));
    }
    for (place, ask) in with(main, |queues| std::mem::take(&mut queues.uncounted)) {
        ctx.in_database(place.0, || count_denial(ctx, &place, &ask, now));
    }
    plan(main);
}

/// Serves the line while its head can be. Returns when to look again.
fn serve(ctx: &Context<'_>, place: &DbKey, now: Micros) -> Option<Micros> {
    let main = ctx.main();
    let name = OwnedString::new(ctx, &place.1);
    if ctx.flags().cluster() && !key_is_served_here(ctx, name.arg()) {
        // The server redirects its clients in a moment.
        return Some(now.plus(HELD_UP_US));
    }
    let mut key = ctx.write(name.arg());
    loop {
        let (ticket, ask, deadline, clock) = with(main, |queues| {
            let (ticket, waiter) = queues.by_key.head(place)?;
            Some((ticket, waiter.ask.clone(), waiter.deadline, waiter.clock))
        })?;
        let real = !ctx.debug_clock_is_set();
        let over = |late: bool| late && (clock == WaitClock::Debug || !real);
        if over(deadline < now) {
            time_is_up(main, ticket);
            continue;
        }
        let decision = key
            .value::<RateLimit>()
            .map_err(Error::from)
            .and_then(|held| ask.decide(ctx, &place.1, held.as_deref(), now));
        let decision = match decision {
            Ok(decision) => decision,
            Err(error) => {
                end(main, ticket, |_| WaitOutcome::Decided(Err(error)));
                continue;
            }
        };
        let reply = decision.reply();
        if reply.granted > 0 {
            let done = grant(ctx, &mut key, &ask, &decision, now);
            metrics::count(main, |m| &mut m.waiting_served);
            decision.count(main);
            top::decided(main, &place.1, true, now);
            end(main, ticket, |_| WaitOutcome::Decided(done.map(|()| reply)));
            continue;
        }
        match reply.status.retry {
            // It asks for more than there is now: nobody behind it should wait for that.
            RetryAfter::Never => {
                decision.count(main);
                top::decided(main, &place.1, false, now);
                end(main, ticket, |_| WaitOutcome::Decided(Ok(reply)));
                with(main, |queues| queues.uncounted.push((place.clone(), ask)));
            }
            _ if over(deadline <= now) || (real && clock == WaitClock::Debug) => time_is_up(main, ticket),
            retry => {
                end_late_ones(ctx, place, now);
                let us = if let RetryAfter::After(us) = retry { us } else { 0 };
                return Some(now.plus(us.max(1)));
            }
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

/// Ends the waits of those behind the head whose time is up by the debug clock.
fn end_late_ones(ctx: &Context<'_>, place: &DbKey, now: Micros) {
    let debug = ctx.debug_clock_is_set();
    let late: Vec<WaiterId> = with(ctx.main(), |queues| {
        let all = queues.by_key.after(place, 0).skip(1);
        all.filter(|(_, waiter)| match waiter.clock {
            WaitClock::Debug => !debug || waiter.deadline <= now,
            WaitClock::Servers => debug && waiter.deadline <= now,
        })
        .map(|(ticket, _)| ticket)
        .collect()
    });
    for ticket in late {
        time_is_up(ctx.main(), ticket);
    }
}

/// Ends a wait without a grant.
fn time_is_up(main: MainThread, ticket: WaiterId) {
    end(main, ticket, |place| WaitOutcome::TimeIsUp(place.clone()));
}

/// Ends a wait; [`answer_client`](crate::queue::answer::answer_client) tells the client.
fn end(main: MainThread, ticket: WaiterId, outcome: impl FnOnce(&DbKey) -> WaitOutcome) {
    let client = with(main, |queues| {
        let (place, waiter) = queues.leave(ticket)?;
        queues.outcomes.insert(ticket, (waiter.ask, outcome(&place)));
        Some(waiter.client)
    });
    if let Some(client) = client {
        client.answer();
    }
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
    drop(held);
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
