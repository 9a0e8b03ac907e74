//! What becomes of a client whose wait has ended.

use super::behind::behind_at;
use super::state::with;
use crate::core::limits::LimitStatus;
use crate::core::retry_after::RetryAfter;
use crate::core::wait_queue::WaiterId;
use crate::limiter::Error;
use crate::limiter::reply::RateLimitReply;
use crate::observe::{metrics, top};
use crate::queue::moves::plan;
use crate::queue::request;
use crate::queue::request::QueuedRequest;
use crate::queue::state::DbKey;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply;
use crate::types::ratelimit::RateLimit;

/// The server lets us answer this client: with what was decided, or, when its
/// time is up, with where it stands.
pub(super) fn answer_client(ctx: &Context<'_>, ticket: WaiterId) {
    let main = ctx.main();
    let decided = with(main, |queues| queues.outcomes.remove(&ticket));
    if let Some((ask, reply, _)) = decided {
        return ask.send(ctx, &reply);
    }
    let Some((place, waiter)) = with(main, |queues| queues.leave(ticket)) else {
        reply::null(ctx);
        return;
    };
    let ask = waiter.ask;
    metrics::count(main, |m| &mut m.waiting_timed_out);
    top::decided(main, &place.1, false, ctx.now());
    let name = OwnedString::new(ctx, &place.1);
    let denial = ctx.in_database(place.0, || denial(ctx, &place, name.arg(), &ask));
    let reply = denial.map(|decision| {
        decision.count(main);
        decision.reply()
    });
    if reply.is_ok() {
        with(main, |queues| queues.uncounted.push((place, ask.clone())));
    }
    plan(main);
    ask.send(ctx, &reply);
}

/// The reply of a request whose wait has ended without a grant.
fn denial(
    ctx: &Context<'_>,
    place: &DbKey,
    name: Arg<'_>,
    ask: &QueuedRequest,
) -> Result<request::QueuedDecision, Error> {
    let now = ctx.now();
    let key = ctx.read(name);
    let held = key.value::<RateLimit>()?;
    if !ask.critical() && with(ctx.main(), |queues| queues.by_key.length(place) > 0) {
        return behind_at(ctx, place, held.as_deref(), ask, now);
    }
    let decision = ask.decide(ctx, &place.1, held.as_deref(), now)?;
    let reply = decision.reply();
    if reply.granted == 0 {
        return Ok(decision);
    }
    // Its units have become free this very moment; asking again gets them.
    let status = LimitStatus { retry: RetryAfter::After(1), ..reply.status };
    Ok(decision.denied(RateLimitReply { granted: 0, status, ..reply }))
}

/// The server says that this client will not be answered by us.
pub(super) fn client_gone(ctx: &Context<'_>, ticket: WaiterId) {
    let main = ctx.main();
    let waited = with(main, |queues| {
        queues.outcomes.remove(&ticket);
        queues.leave(ticket).is_some()
    });
    if waited {
        metrics::count(main, |m| &mut m.waiting_left);
        plan(main);
    }
}
