//! What becomes of a request where a line stands, or that may wait.

use super::behind::{behind, behind_at, forecast};
use super::forecast::Forecast;
use super::moves::plan;
use super::state::{Waiter, has_queue, place, with};
use super::{answer, moves, request, serve};
use crate::core::limits::Request;
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire;
use crate::limiter::acquire::AcquireDecision;
use crate::limiter::reply::{RateLimitReply, signed};
use crate::observe::metrics;
use crate::queue::request::QueuedRequest;
use crate::server::blocking;
use crate::server::blocking::BlockedClientHandler;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::ReadKey;
use crate::server::keys::keyspace;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::settings;
use crate::types::ratelimit::RateLimit;

const WARD: BlockedClientHandler =
    BlockedClientHandler { answer: answer::answer_client, gone: answer::client_gone };

/// How long a caller is ready to wait: `WAIT d`, at most `wait-max`; 0 for not.
///
/// # Errors
/// A malformed duration, or too long.
pub fn wait_option(main: MainThread, arg: Arg<'_>) -> Result<u64, Error> {
    let us = duration::parse(arg.bytes())?;
    let most = settings::wait_max_us(main);
    if us > most {
        let expected = format!("at most {}ms (setting wait-max)", most / 1000);
        return Err(Error::Range { name: "WAIT", expected });
    }
    Ok(us)
}

/// What became of a request that met a line, or that wants to wait.
#[derive(Debug)]
pub enum QueueAdmission {
    /// No line is in its way.
    NoQueue,
    /// It waits now, and is answered later.
    Enqueued,
    /// It is denied.
    Denied(Box<request::QueuedDecision>),
}

/// Decides a request where a line may stand: it waits at its end, or is denied.
///
/// # Errors
/// As the decision itself.
pub fn admit(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    ask: &QueuedRequest,
    wait_us: u64,
    now: Micros,
) -> Result<QueueAdmission, Error> {
    if ask.critical() || !has_queue(ctx, key.name()) {
        return Ok(QueueAdmission::NoQueue);
    }
    let decision = behind(ctx, key, ask, now)?;
    if decision.reply().status.retry == RetryAfter::Never {
        return Ok(QueueAdmission::Denied(decision.into()));
    }
    Ok(if join(ctx, key, ask, wait_us, RetryAfter::Never, now) {
        QueueAdmission::Enqueued
    } else {
        QueueAdmission::Denied(decision.into())
    })
}

/// As [`acquire::decide`], but denied where a line stands and the request is not
/// critical: for every command that takes and does not wait.
///
/// # Errors
/// As [`acquire::decide`].
#[inline]
pub fn decide(
    ctx: &Context<'_>,
    name: Arg<'_>,
    value: Option<&RateLimit>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<AcquireDecision, Error> {
    if request.critical || !has_queue(ctx, name) {
        return acquire::decide(ctx, name.bytes(), value, given, request, now);
    }
    let ask = QueuedRequest::Acquire { limits: given.map(Into::into), request: *request, track: false };
    Ok(match behind_at(ctx, &place(ctx, name), value, &ask, now)? {
        request::QueuedDecision::Acquire(decision) => decision,
        // Not what was asked.
        request::QueuedDecision::Reserve(decision) => AcquireDecision::denial(decision.reply),
    })
}

/// Puts the client at the end of the key's line, if it may wait. `retry` says
/// when its units are free when it is the first.
pub fn join(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    ask: &QueuedRequest,
    wait_us: u64,
    retry: RetryAfter,
    now: Micros,
) -> bool {
    let flags = ctx.flags();
    // On a replica that takes writes nobody would serve the line.
    if wait_us == 0 || flags.deny_blocking() || !flags.master() {
        return false;
    }
    let main = ctx.main();
    let place = place(ctx, key.name());
    let (queue_max, waiters_max) = (settings::queue_max(main), settings::waiters_max(main));
    let ticket = with(main, |queues| {
        let full = queues.by_key.length(&place) >= queue_max || queues.by_key.waiting() >= waiters_max;
        (!full).then(|| queues.by_key.next_ticket())
    });
    let Some(ticket) = ticket else {
        metrics::count(main, |m| &mut m.waiting_refused);
        return false;
    };
    wake_timer::prepare(ctx, serve::wake);
    keyspace::listen(moves::happened);
    let timeout_ms = signed(wait_us.div_ceil(1000));
    let client = blocking::block(ctx, key.name(), ticket, timeout_ms, WARD);
    let due = match retry {
        RetryAfter::Now => Some(now),
        RetryAfter::After(us) => Some(now.plus(us)),
        RetryAfter::Never => None,
    };
    let waiter = Waiter { ask: ask.clone(), since: now, client };
    with(main, |queues| queues.join(&place, waiter, due));
    plan(main);
    true
}

/// When the line of a key will have been served, if nobody else comes.
///
/// # Errors
/// The key holds another type.
pub fn served_by(ctx: &Context<'_>, key: &ReadKey<'_>, now: Micros) -> Result<Option<Micros>, Error> {
    if !has_queue(ctx, key.name()) {
        return Ok(None);
    }
    let held = key.value::<RateLimit>()?;
    let place = place(ctx, key.name());
    Ok(Some(forecast(ctx, &place, held.as_deref(), now, Forecast::served_at).max(now.plus(1))))
}

/// The denial that a request would be answered with while a line stands on its key:
/// nothing is taken or counted.
///
/// # Errors
/// As [`acquire::decide`].
pub fn look(
    ctx: &Context<'_>,
    key: &ReadKey<'_>,
    given: Option<&[u8]>,
    request: &Request,
    now: Micros,
) -> Result<Option<RateLimitReply>, Error> {
    if !has_queue(ctx, key.name()) {
        return Ok(None);
    }
    let ask = QueuedRequest::Acquire { limits: given.map(Into::into), request: *request, track: false };
    behind(ctx, key, &ask, now).map(|decision| Some(decision.reply()))
}
