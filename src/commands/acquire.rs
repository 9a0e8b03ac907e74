//! RL.ACQUIRE: takes units from every limit of a key, or from none.

use super::arguments::cost;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::{Expression, Request};
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::whole_number;
use crate::core::text::token::{TokenError, shown};
use crate::limiter::Error;
use crate::limiter::acquire::decide;
use crate::limiter::apply;
use crate::limiter::apply::{EffectBatch, commit};
use crate::limiter::track;
use crate::observe::{metrics, top};
use crate::queue;
use crate::queue::{QueueAdmission, QueuedRequest};
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::args::{Arg, Args};
use crate::server::main_thread::MainThread;
use crate::types::ratelimit::RateLimit;

/// What the caller asks for.
#[derive(Clone, Copy, Debug)]
struct AcquireCall<'a> {
    key: Arg<'a>,
    limits: Option<&'a [u8]>,
    request: Request,
    wait_us: u64,
    track: bool,
}

const KEYWORDS: [&str; 5] = ["COST", "PARTIAL", "WAIT", "CRITICAL", "TRACK"];

/// Parses what follows the key.
fn parse<'a>(main: MainThread, key: Arg<'a>, mut walk: ArgCursor<'a>) -> Result<AcquireCall<'a>, Error> {
    let request = Request { cost: 1, calls: 1, partial: false, critical: false };
    let mut call = AcquireCall { key, limits: None, request, wait_us: 0, track: false };
    call.limits = walk.take_unless(|next| KEYWORDS.iter().any(|keyword| next.is(keyword))).map(Arg::bytes);
    let mut waits = false;
    while let Some(option) = walk.option(&KEYWORDS).map_err(|error| limits_first(call.limits, error))? {
        match option {
            "COST" => call.request.cost = cost(walk.value_of(option)?)?,
            "WAIT" => {
                call.wait_us = queue::wait_option(main, walk.value_of(option)?)?;
                waits = true;
            }
            "PARTIAL" => call.request.partial = true,
            "CRITICAL" => call.request.critical = true,
            _ => call.track = true,
        }
    }
    if waits && call.request.partial {
        return Err(Error::Usage("syntax error: PARTIAL and WAIT exclude each other".to_owned()));
    }
    Ok(call)
}

/// Of a malformed limit and an argument that has no place behind it, the limit is
/// the cause: `RL.ACQUIRE key 10 60`.
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

impl AcquireCall<'_> {
    fn ask(&self) -> QueuedRequest {
        QueuedRequest::Acquire {
            limits: self.limits.map(Into::into),
            request: self.request,
            track: self.track,
        }
    }
}

/// `RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT d] [CRITICAL] [TRACK]`
///
/// # Errors
/// Malformed arguments, no limits, or a key of another type.
pub fn acquire(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    // First, so that its value arrives meanwhile.
    let mut key = ctx.write(name);
    let call = parse(ctx.main(), name, walk)?;
    let now = ctx.now();
    if queue::has_queue(ctx, call.key) {
        match queue::admit(ctx, &key, &call.ask(), call.wait_us, now)? {
            QueueAdmission::NoQueue => {}
            QueueAdmission::Enqueued => return Ok(()),
            QueueAdmission::Denied(decision) => {
                decision.count(ctx.main());
                top::decided(ctx.main(), call.key.bytes(), false, now);
                let counts = track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), call.track);
                let mut together = EffectBatch::new(ctx);
                call.ask().change(ctx.main(), &decision, now, |change| {
                    together.apply(ctx, &mut key, &apply::effect(ctx, now, change), c"rl.acquire")
                })?;
                if counts {
                    let counted = track::decided(call.request.cost, 0);
                    together.apply(ctx, &mut key, &apply::effect(ctx, now, counted), c"rl.acquire")?;
                }
                together.propagate(ctx);
                decision.reply().send(ctx);
                return Ok(());
            }
        }
    }
    let held = key.value::<RateLimit>()?;
    // What a grant writes arrives while it is decided.
    if let Some(far) = held.as_deref().and_then(RateLimit::prefetch_hint) {
        prefetch(far);
    }
    let mut decision = decide(ctx, call.key.bytes(), held.as_deref(), call.limits, &call.request, now);
    // Borrowed: moving it out would copy 200 bytes.
    let Ok(decision) = &mut decision else { return decision.map(drop) };
    let retry = decision.reply.status.retry;
    let waits = call.wait_us > 0
        && decision.reply.granted == 0
        && retry != RetryAfter::Never
        && queue::join(ctx, &key, &call.ask(), call.wait_us, retry, now);
    if !waits {
        decision.close();
    }
    // What is taken and what is counted travel as one.
    let mut together = track::counts(ctx.main(), held.as_deref(), call.track).then(|| EffectBatch::new(ctx));
    decision.change(ctx.main(), |change| {
        let effect = apply::effect(ctx, now, change);
        match &mut together {
            Some(together) => together.apply(ctx, &mut key, &effect, c"rl.acquire"),
            None => commit(ctx, &mut key, &effect, c"rl.acquire").map(drop),
        }
    })?;
    if waits {
        if let Some(together) = together {
            together.propagate(ctx);
        }
        return Ok(());
    }
    if let Some(mut together) = together {
        let counted = track::decided(call.request.cost, decision.reply.granted);
        together.apply(ctx, &mut key, &apply::effect(ctx, now, counted), c"rl.acquire")?;
        together.propagate(ctx);
    }
    if decision.reply.granted > 0 {
        metrics::count(ctx.main(), |m| &mut m.acquire_granted);
        metrics::add(ctx.main(), |m| &mut m.acquire_granted_units, decision.reply.granted);
    } else {
        metrics::count(ctx.main(), |m| &mut m.acquire_denied);
    }
    decision.count(ctx.main());
    top::decided(ctx.main(), call.key.bytes(), decision.reply.granted > 0, now);
    decision.reply.send(ctx);
    Ok(())
}
