//! RL.ACQUIRE: takes units from every limit of a key, or from none.

use crate::commands::arguments::{COST, CRITICAL, KEY, LIMITS, SHORTAGE, TRACK, cost};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::{Expression, Request};
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::whole_number;
use crate::core::text::token::{TokenError, shown};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::{AcquireDecision, decide};
use crate::limiter::resolve::KeyView;
use crate::limiter::track::{self, Recording};
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue;
use crate::queue::{QueueAdmission, QueuedDecision, QueuedRequest};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::Reply;
use crate::server::keys::key::Key;
use crate::server::load::argument::Argument;
use crate::server::main_thread::MainThread;
use crate::types::ratelimit::RateLimit;
use std::ffi::CStr;

/// The keyspace event of a change.
const EVENT: &CStr = c"rl.acquire";

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
struct AcquireCall<'a> {
    key: Arg<'a>,
    limits: Option<&'a [u8]>,
    request: Request,
    wait_us: u64,
    track: bool,
}

/// `key [limits] [COST n] [PARTIAL | WAIT d] [CRITICAL] [TRACK]`
pub const ARGUMENTS: &[Argument] = &[KEY, LIMITS.optional(), COST, SHORTAGE, CRITICAL, TRACK];
const OPTIONS: Options = Options::of(ARGUMENTS);

/// Parses the arguments after the key.
fn parse<'a>(main: MainThread, key: Arg<'a>, mut cursor: ArgCursor<'a>) -> Result<AcquireCall<'a>, Error> {
    let limits = cursor.before(&OPTIONS).map(Arg::bytes);
    let request = Request { cost: 1, calls: 1, partial: false, critical: false };
    let mut call = AcquireCall { key, limits, request, wait_us: 0, track: false };
    while let Some((option, value)) = cursor.option(&OPTIONS).map_err(|error| limits_first(limits, error))? {
        match option {
            "COST" => call.request.cost = cost(value)?,
            "WAIT" => call.wait_us = queue::wait_option(main, value)?,
            "PARTIAL" => call.request.partial = true,
            "CRITICAL" => call.request.critical = true,
            "TRACK" => call.track = true,
            _ => return Err(hints::not_taken(option)),
        }
    }
    Ok(call)
}

/// Reports the malformed limit rather than the unexpected argument behind it, because the limit is
/// the cause, as in `RL.ACQUIRE key 10 60`.
#[cold]
pub fn limits_first(limits: Option<&[u8]>, error: Error) -> Error {
    let Some(text) = limits else { return error };
    match (Expression::parse(text), &error) {
        (Err(malformed), Error::Syntax { near, .. }) => {
            if whole_number(text).is_some() && whole_number(near.as_bytes()).is_some() {
                let reason = format!("limits are one argument, write {}/{near}s", shown(text));
                return TokenError::new("limit", text, reason).into();
            }
            malformed.into()
        }
        _ => error,
    }
}

/// `RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT d] [CRITICAL] [TRACK]` takes units from every
/// limit of the key, or from none. It replies the six integers of a [`RateLimitReply`].
///
/// [`RateLimitReply`]: crate::limiter::reply::RateLimitReply
///
/// # Errors
/// Malformed arguments, no limits, or a key of another type.
pub fn acquire(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    // The key is opened before the arguments are parsed, so that the prefetch of its value overlaps
    // with the parsing.
    let mut key = ctx.write(name);
    let call = parse(ctx.main(), name, cursor)?;
    let now = ctx.now();
    if queue::has_queue(ctx, call.key) {
        match queue::admit(ctx, &key, &call.ask(), call.wait_us, now)? {
            QueueAdmission::NoQueue => {}
            QueueAdmission::Enqueued => return Ok(()),
            QueueAdmission::Denied(decision) => return call.deny_behind(ctx, &mut key, *decision, now),
        }
    }
    let held = key.value::<RateLimit>()?;
    // The memory that a grant writes is fetched while the request is decided.
    if let Some(hint) = held.as_deref().and_then(RateLimit::prefetch_hint) {
        prefetch(hint);
    }
    let found = KeyView::of(ctx, call.key, held.as_deref(), now);
    let mut decision = decide(found, call.limits, &call.request);
    // The decision is borrowed, because moving it would copy 200 bytes.
    let Ok(decision) = &mut decision else { return decision.map(drop) };
    let retry = decision.reply.status.retry;
    let waits = call.wait_us > 0
        && decision.reply.granted == 0
        && retry != RetryAfter::Never
        && queue::join(ctx, &key, &call.ask(), call.wait_us, retry, now);
    if !waits {
        decision.close();
    }
    let (cost, granted) = (call.request.cost, decision.reply.granted);
    let counted = track::counted(ctx.main(), held.as_deref(), call.track, cost, granted);
    // A request that waits is counted when its wait ends.
    let counted = counted.filter(|_| !waits);
    let recording = Recording { ctx, now, event: EVENT };
    match counted {
        None if decision.changes_nothing() => {}
        None => decision.change(ctx.main(), |change| recording.change(&mut key, change))?,
        counted => recording.alone(&mut key, counted, |make| decision.change(ctx.main(), make))?,
    }
    if waits {
        return Ok(());
    }
    call.count(ctx, decision, now);
    decision.reply.send(ctx);
    Ok(())
}

impl AcquireCall<'_> {
    fn ask(&self) -> QueuedRequest<'_> {
        QueuedRequest::Acquire {
            limits: self.limits.map(Into::into),
            request: self.request,
            track: self.track,
        }
    }

    #[inline]
    fn count(&self, ctx: &Context<'_>, decision: &AcquireDecision, now: Micros) {
        let granted = decision.reply.granted;
        if granted > 0 {
            metrics::count(ctx.main(), |m| &mut m.acquire_granted);
            metrics::add(ctx.main(), |m| &mut m.acquire_granted_units, granted);
        } else {
            metrics::count(ctx.main(), |m| &mut m.acquire_denied);
        }
        decision.count(ctx.main());
        top::decided(ctx.main(), self.key.bytes(), RequestOutcome::of(granted > 0), now);
    }

    /// Denies the request while others wait for the key.
    fn deny_behind(
        &self,
        ctx: &Context<'_>,
        key: &mut Key<'_>,
        mut decision: QueuedDecision,
        now: Micros,
    ) -> Result<(), Error> {
        decision.close();
        decision.count(ctx.main());
        top::decided(ctx.main(), self.key.bytes(), RequestOutcome::Denied, now);
        let held = key.value::<RateLimit>()?;
        let counted = track::counted(ctx.main(), held.as_deref(), self.track, self.request.cost, 0);
        let recording = Recording { ctx, now, event: EVENT };
        recording.alone(key, counted, |make| self.ask().change(ctx.main(), &decision, now, make))?;
        decision.reply().send(ctx);
        Ok(())
    }
}
