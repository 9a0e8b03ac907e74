//! Answers clients whose wait has ended.

use super::behind::decide_at;
use super::state::with;
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::wait_queue::WaiterId;
use crate::limiter::Error;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::KeyView;
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue::moves::set_timer;
use crate::queue::request::{CorrectableDecision, QueuedDecision, QueuedRequest};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply;
use crate::types::db_key::DbKey;
use crate::types::ratelimit::RateLimit;

/// Answers this client, as the server asks for it: with the decision, or, if its timeout passed,
/// with the answer that it would get now.
pub(super) fn answer_client(ctx: &Context<'_>, id: WaiterId) {
    let main = ctx.main();
    let decided = with(main, |queues| queues.outcomes.remove(&id));
    if let Some(outcome) = decided {
        return outcome.queued.send(ctx, &outcome.reply);
    }
    let Some((db_key, waiter)) = with(main, |queues| queues.leave(id)) else {
        reply::null(ctx);
        return;
    };
    let queued = waiter.queued;
    let name = OwnedString::new(ctx, &db_key.name);
    let decision = ctx.in_database(db_key.database, || decide(ctx, &db_key, name.arg(), &queued));
    let is_retry = decision.as_ref().is_ok_and(QueuedDecision::is_retry);
    if is_retry {
        metrics::count(main, |m| &mut m.waiting_served);
    } else {
        metrics::count(main, |m| &mut m.waiting_timed_out);
        top::decided(main, &db_key.name, RequestOutcome::Denied, ctx.now());
    }
    let reply = decision.map(|decision| {
        decision.count(main);
        decision.reply()
    });
    if reply.is_ok() && !is_retry {
        with(main, |queues| queues.uncounted.push((db_key, queued.clone())));
    }
    set_timer(main);
    queued.send(ctx, &reply);
}

/// Decides a request whose wait has ended without a grant: it is denied, unless a request with its ID
/// has the reservation by now.
fn decide(
    ctx: &Context<'_>,
    db_key: &DbKey,
    name: Arg<'_>,
    queued: &QueuedRequest<'_>,
) -> Result<QueuedDecision, Error> {
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    let found = KeyView { main: ctx.main(), name: &db_key.name, value: held.as_deref(), now };
    let decision = queued.decide(found)?;
    if decision.is_retry() {
        return Ok(decision);
    }
    let decision = decide_at(found, db_key, queued)?;
    let reply = decision.reply();
    if reply.granted == 0 {
        return Ok(decision);
    }
    // Its units have become free at this very moment. If the client asks again, it gets them.
    let status = queued.status_only(found, &decision)?;
    let status = LimitStatus { retry: RetryAfter::After(1), ..status };
    Ok(decision.denied(RateLimitReply { granted: 0, status, ..reply }))
}

/// Forgets this client, because the server says that we cannot answer it any more.
pub(super) fn client_gone(ctx: &Context<'_>, id: WaiterId) {
    let main = ctx.main();
    let waited = with(main, |queues| {
        queues.outcomes.remove(&id);
        queues.leave(id).is_some()
    });
    if waited {
        metrics::count(main, |m| &mut m.waiting_left);
        set_timer(main);
    }
}
