//! CB.ACQUIRE: asks whether a call may go through, alone or together with a
//! limit.

use crate::commands::arguments::ArgCursor;
use crate::commands::breaker::limit::{LimitClause, LimitDecision, in_words_of_ttl};
use crate::core::breaker::{Admission, CircuitState, Permit};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::breaker::apply::{apply, commit, propagate, tell};
use crate::limiter::breaker::resolve::{ResolvedBreaker, resolve};
use crate::limiter::breaker::words::send_state;
use crate::observe::{metrics, top};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::keys::key::ReadKey;
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::effect::breaker::{AppliedBreaker, BreakerChange};
use crate::types::ratelimit::RateLimit;

/// What the caller asks of the breaker.
#[derive(Clone, Copy, Debug)]
struct CbAcquireCall<'a> {
    key: Arg<'a>,
    breaker: Option<&'a [u8]>,
}

/// `CB.ACQUIRE key [breaker] [LIMIT rlkey limits [COST n] [TTL d [ID id]] [CRITICAL]]`:
/// `[allowed, state, token|nil, retry_after_ms]`, with LIMIT a fifth element.
///
/// # Errors
/// Malformed arguments, no breaker at all, or a key of another type.
pub fn acquire(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let key = walk.required()?;
    let breaker = walk.take_unless(|next| next.is("LIMIT")).map(Arg::bytes);
    let call = CbAcquireCall { key, breaker };
    if !walk.keyword("LIMIT") {
        walk.end()?;
        return alone(ctx, &call);
    }
    let limit = LimitClause::parse(&mut walk)?;
    if limit.reserves() {
        with_limit(ctx, &call, &limit, |key, now| limit.reserve(ctx, key, now))
    } else {
        with_limit(ctx, &call, &limit, |key, now| limit.acquire(ctx, key, now))
    }
}

fn resolved(
    ctx: &Context<'_>,
    call: &CbAcquireCall<'_>,
    value: Option<&CbCircuit>,
    now: Micros,
) -> Result<ResolvedBreaker, Error> {
    resolve(ctx.main(), call.key.bytes(), value, call.breaker, now)?.ok_or(Error::NoBreaker)
}

fn alone(ctx: &Context<'_>, call: &CbAcquireCall<'_>) -> Result<(), Error> {
    // In this order, so that the value arrives meanwhile.
    let mut key = ctx.write(call.key);
    let now = ctx.now();
    let held = key.value::<CbCircuit>()?;
    let resolved = resolved(ctx, call, held.as_deref(), now)?;
    let at_rest = held
        .as_deref()
        .filter(|value| resolved.is_own() && !value.pin_is_late(now))
        .and_then(|value| value.circuit().at_rest(now));
    let answer = if let Some(Admission { state, ticket, retry, .. }) = at_rest {
        CbAcquireReply { state, ticket, retry }
    } else {
        let effect = resolved.effect(ctx, now, BreakerChange::Acquire);
        CbAcquireReply::of(&commit(ctx, &mut key, &effect, c"cb.acquire")?)
    };
    answer.count(ctx, call.key, now);
    reply::array(ctx, 4);
    answer.send(ctx);
    Ok(())
}

/// Breaker and limit decided together: both take, or neither does. `decide` says what the
/// limit does.
fn with_limit<D: LimitDecision>(
    ctx: &Context<'_>,
    call: &CbAcquireCall<'_>,
    limit: &LimitClause<'_>,
    decide: impl FnOnce(&ReadKey<'_>, Micros) -> Result<D, Error>,
) -> Result<(), Error> {
    let now = ctx.now();
    if call.key.bytes() == limit.key.bytes() {
        let key = ctx.read(call.key);
        key.value::<RateLimit>()?;
        key.value::<CbCircuit>()?;
        return Err(Error::Other("the breaker and the limit need different keys".to_owned()));
    }
    ctx.settle_keys([call.key, limit.key]);
    // Whatever can be wrong is found before anything is taken.
    let mut limit_key = ctx.write(limit.key);
    let mut decision = match decide(&limit_key, now) {
        Ok(decision) => decision,
        Err(error) => return Err(in_words_of_ttl(error)),
    };
    let mut key = ctx.write(call.key);
    let held = key.value::<CbCircuit>()?;
    let resolved = resolved(ctx, call, held.as_deref(), now)?;
    let live = held.as_deref().filter(|_| !resolved.missing);
    let other = resolved.other.as_ref().map(BreakerRef::breaker);
    let admits = live.is_none_or(|value| value.peek_acquire(other, now).allowed);
    let standing = live.map(|value| value.circuit().state_at(value.rule().breaker(), now));

    let rate_limited = admits && decision.reply().granted == 0;
    if admits {
        decision.close();
        decision.count(ctx, limit.key, now);
    }
    if rate_limited {
        // Nothing of the breaker changes, but a clock that stepped back is recorded.
        let effect = ResolvedBreaker::own().effect(ctx, now, BreakerChange::StepBack);
        let stepped = match standing {
            Some(_) => Some(apply(ctx, &mut key, &effect, c"cb.acquire")?).filter(|applied| applied.changed),
            None => None,
        };
        let circuit = stepped.map(|_| (call.key, &effect));
        decision.take(ctx, limit, circuit, &mut limit_key, now)?;
        refuse(ctx, standing.unwrap_or(CircuitState::Closed), &decision);
        return Ok(());
    }
    let effect = resolved.effect(ctx, now, BreakerChange::Acquire);
    let applied = apply(ctx, &mut key, &effect, c"cb.acquire")?;
    if admits {
        let circuit = applied.changed.then_some((call.key, &effect));
        decision.take(ctx, limit, circuit, &mut limit_key, now)?;
    } else {
        propagate(ctx, call.key, &effect, &applied);
    }
    tell(ctx, call.key, &applied);
    let mut answer = CbAcquireReply::of(&applied);
    if !admits && decision.reply().granted == 0 {
        // Both have to let it through.
        answer.retry = answer.retry.max(decision.reply().status.retry);
    }
    answer.count(ctx, call.key, now);
    reply::array(ctx, 5);
    answer.send(ctx);
    if admits {
        decision.send(ctx);
    } else {
        reply::null(ctx);
    }
    Ok(())
}

/// The reply to a call that the breaker would admit and the limit does not.
fn refuse(ctx: &Context<'_>, state: CircuitState, denial: &impl LimitDecision) {
    metrics::count(ctx.main(), |m| &mut m.breaker_denied_limit);
    reply::array(ctx, 5);
    reply::integer(ctx, 0);
    send_state(ctx, state);
    reply::null(ctx);
    reply::integer(ctx, denial.reply().status.retry.millis());
    denial.send(ctx);
}

/// What the breaker says.
#[derive(Clone, Copy, Debug)]
struct CbAcquireReply {
    state: CircuitState,
    ticket: Option<Permit>,
    retry: RetryAfter,
}

impl CbAcquireReply {
    const fn of(applied: &AppliedBreaker) -> Self {
        Self { state: applied.state, ticket: applied.ticket, retry: applied.retry }
    }

    /// Writes the first four elements of the reply.
    fn send(&self, ctx: &Context<'_>) {
        reply::integer(ctx, self.ticket.is_some().into());
        send_state(ctx, self.state);
        match self.ticket {
            Some(ticket) => reply::bytes(ctx, ticket.text().as_bytes()),
            None => reply::null(ctx),
        }
        reply::integer(ctx, self.retry.millis());
    }

    fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros) {
        if self.ticket.is_none() {
            top::decided(ctx.main(), key.bytes(), false, now);
        }
        metrics::count(ctx.main(), |m| match (self.ticket.is_some(), self.state) {
            (true, _) => &mut m.breaker_admitted,
            (false, CircuitState::Open) => &mut m.breaker_denied_open,
            (false, CircuitState::HalfOpen) => &mut m.breaker_denied_half_open,
            (false, CircuitState::ForcedOpen) => &mut m.breaker_denied_forced,
            // Only a ramp denies while closed.
            (false, CircuitState::Closed | CircuitState::ForcedClosed) => &mut m.breaker_denied_ramp,
        });
    }
}
