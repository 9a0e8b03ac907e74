//! CB.ACQUIRE: asks whether a call may go through, by the breaker alone or together with a limit.

use crate::commands::arguments::{BREAKER, KEY};
use crate::commands::breaker::limit::{self, ClauseReply, LimitClause};
use crate::commands::cursor::ArgCursor;
use crate::commands::options::Options;
use crate::core::breaker::{Admission, CircuitState, Permit};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{KeyEffect, commit};
use crate::limiter::breaker::resolve::{CircuitKey, ResolvedBreaker};
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, Reply};
use crate::server::keys::key::Key;
use crate::server::load::argument::Argument;
use crate::types::cbcircuit::CbCircuit;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::effect::breaker::{AppliedBreaker, BreakerChange, BreakerEffect};
use crate::types::ratelimit::RateLimit;

/// `key [breaker] [LIMIT rlkey limits [COST n] [TTL d [ID id]] [CRITICAL]]`
pub const ARGUMENTS: &[Argument] =
    &[KEY, BREAKER.optional(), Argument::group("limit", limit::ARGUMENTS).after("LIMIT").optional()];

/// The breaker's arguments of a call.
#[derive(Clone, Copy, Debug)]
struct CbAcquireCall<'a> {
    key: Arg<'a>,
    breaker: Option<&'a [u8]>,
}

/// `CB.ACQUIRE key [breaker] [LIMIT rlkey limits [COST n] [TTL d [ID id]] [CRITICAL]]` replies
/// `[allowed, state, token|nil, retry_after_ms]`, and with LIMIT a fifth element.
///
/// # Errors
/// Malformed arguments, no breaker, or a key of another type.
pub fn acquire(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let key = cursor.required()?;
    let breaker = cursor.take_unless(|next| next.is("LIMIT")).map(Arg::bytes);
    let call = CbAcquireCall { key, breaker };
    if !cursor.keyword("LIMIT") {
        cursor.end().map_err(|error| if_of_limit(breaker, cursor.peek(), error))?;
        return alone(ctx, &call);
    }
    with_limit(ctx, &call, &LimitClause::parse(&mut cursor)?)
}

/// Explains an option of a limit without the limit, which may stand in place of the breaker.
#[cold]
fn if_of_limit(breaker: Option<&[u8]>, next: Option<Arg<'_>>, error: Error) -> Error {
    let options = Options::of(limit::ARGUMENTS);
    let is = |text: &&[u8]| options.keywords().any(|keyword| keyword.as_bytes().eq_ignore_ascii_case(text));
    match [breaker, next.map(Arg::bytes)].into_iter().flatten().find(is) {
        Some(option) => Error::near(option, "it belongs to a limit, as in LIMIT user:42 10/s COST 5"),
        None => error,
    }
}

fn resolved(
    ctx: &Context<'_>,
    call: &CbAcquireCall<'_>,
    value: Option<&CbCircuit>,
    now: Micros,
) -> Result<ResolvedBreaker, Error> {
    let found = CircuitKey::of(ctx.main(), call.key.bytes(), value, now);
    found.resolve(call.breaker)?.ok_or(Error::NoBreaker)
}

fn alone(ctx: &Context<'_>, call: &CbAcquireCall<'_>) -> Result<(), Error> {
    // The key is opened before the clock is read, so that the prefetch of its value overlaps with
    // that.
    let mut key = ctx.write(call.key);
    let now = ctx.now();
    let held = key.value::<CbCircuit>()?;
    let resolved = resolved(ctx, call, held.as_deref(), now)?;
    let at_rest = held
        .as_deref()
        .filter(|value| resolved.is_own() && !value.pin_is_late(now))
        .and_then(|value| value.circuit().at_rest(now));
    let answer = if let Some(Admission { state, permit, retry, .. }) = at_rest {
        CbAcquireReply { state, permit, retry }
    } else {
        let effect = resolved.effect(ctx, held.as_deref(), now, BreakerChange::Acquire);
        CbAcquireReply::of(&commit(ctx, &mut key, &effect, c"cb.acquire")?)
    };
    answer.count(ctx, call.key, now);
    answer.send(ctx);
    Ok(())
}

/// Decides a call on its breaker and on its limit together: it takes from both, or from neither.
fn with_limit(ctx: &Context<'_>, call: &CbAcquireCall<'_>, limit: &LimitClause<'_>) -> Result<(), Error> {
    let now = ctx.now();
    refuse_same_key(ctx, call.key, limit.key)?;
    ctx.settle_keys([call.key, limit.key]);
    // Every error is found before anything is taken.
    let mut limit_key = ctx.write(limit.key);
    let mut decision = limit.decide(ctx, &limit_key, now)?;
    let mut key = ctx.write(call.key);
    let held = key.value::<CbCircuit>()?;
    let resolved = resolved(ctx, call, held.as_deref(), now)?;
    let live = held.as_deref().filter(|_| !resolved.missing);
    let other = resolved.terms.rule.as_ref().map(BreakerRef::breaker);
    let denial = live.map(|value| value.peek_acquire(other, now)).filter(|admission| !admission.allowed);
    let admits = denial.is_none();
    let state = live.map(|value| value.circuit().state_at(value.rule().breaker(), now));

    if admits {
        decision.close();
        limit.count(ctx, &decision, now);
        if decision.reply().granted == 0 {
            let stepped_back = step_back(ctx, &mut key, state, now)?;
            let circuit = stepped_back.as_ref().map(|effect| (call.key, effect));
            limit.apply(ctx, &decision, circuit, &mut limit_key, now)?;
            refuse(ctx, state.unwrap_or(CircuitState::Closed), &limit.reply(&decision));
            return Ok(());
        }
    }
    let retry = match denial {
        Some(denial) => limit.retry_beside(ctx, &limit_key, &decision, denial.retry, now)?,
        None => RetryAfter::Now,
    };
    let effect = resolved.effect(ctx, held.as_deref(), now, BreakerChange::Acquire);
    let applied = effect.apply_to(ctx, &mut key, c"cb.acquire")?;
    let circuit = applied.changed.then_some((call.key, &effect));
    if admits {
        limit.apply(ctx, &decision, circuit, &mut limit_key, now)?;
    } else {
        limit.step_back(ctx, circuit, &mut limit_key, now)?;
    }
    BreakerEffect::tell(ctx, call.key, &applied);
    let answer = CbAcquireReply { retry, ..CbAcquireReply::of(&applied) };
    answer.count(ctx, call.key, now);
    answer.send_with(ctx, &admits.then(|| limit.reply(&decision)));
    Ok(())
}

/// Refuses a call whose breaker and limit are on one key, because a key holds either a circuit or a
/// limiter.
fn refuse_same_key(ctx: &Context<'_>, breaker: Arg<'_>, limit: Arg<'_>) -> Result<(), Error> {
    if breaker.bytes() != limit.bytes() {
        return Ok(());
    }
    let key = ctx.read(breaker);
    key.value::<RateLimit>()?;
    key.value::<CbCircuit>()?;
    Err(Error::Other("the breaker and the limit need different keys".to_owned()))
}

/// Records on the breaker's key that the clock stepped back, if it did. The limit denies the call,
/// so nothing else of the circuit changes. Returns the effect, if it changed anything.
fn step_back(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    state: Option<CircuitState>,
    now: Micros,
) -> Result<Option<BreakerEffect<'static>>, Error> {
    if state.is_none() {
        return Ok(None);
    }
    let effect = ResolvedBreaker::own().effect(ctx, None, now, BreakerChange::StepBack);
    let applied = effect.apply_to(ctx, key, c"cb.acquire")?;
    Ok(applied.changed.then_some(effect))
}

/// Replies to a call that the breaker would admit and the limit denies.
fn refuse(ctx: &Context<'_>, state: CircuitState, denial: &ClauseReply<'_>) {
    metrics::count(ctx.main(), |m| &mut m.breaker_denied_limit);
    let answer = CbAcquireReply { state, permit: None, retry: denial.reply.status.retry };
    answer.send_with(ctx, denial);
}

impl Reply for CbAcquireReply {
    fn send(&self, ctx: &Context<'_>) {
        reply::array(ctx, &[&self.admitted(), &self.state, &self.permit, &self.retry]);
    }
}

/// The reply of the breaker.
#[derive(Clone, Copy, Debug)]
struct CbAcquireReply {
    state: CircuitState,
    permit: Option<Permit>,
    retry: RetryAfter,
}

impl CbAcquireReply {
    const fn of(applied: &AppliedBreaker) -> Self {
        Self { state: applied.state, permit: applied.permit, retry: applied.retry }
    }

    fn admitted(&self) -> i64 {
        self.permit.is_some().into()
    }

    /// Writes the breaker's reply with `limit`, the limit's reply, as its fifth element.
    fn send_with(&self, ctx: &Context<'_>, limit: &dyn Reply) {
        reply::array(ctx, &[&self.admitted(), &self.state, &self.permit, &self.retry, limit]);
    }

    fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros) {
        if self.permit.is_none() {
            top::decided(ctx.main(), key.bytes(), RequestOutcome::Denied, now);
        }
        metrics::count(ctx.main(), |m| match (self.permit.is_some(), self.state) {
            (true, _) => &mut m.breaker_admitted,
            (false, CircuitState::Open) => &mut m.breaker_denied_open,
            (false, CircuitState::HalfOpen) => &mut m.breaker_denied_half_open,
            (false, CircuitState::ForcedOpen) => &mut m.breaker_denied_forced,
            // In the closed state, only a ramp denies.
            (false, CircuitState::Closed | CircuitState::ForcedClosed) => &mut m.breaker_denied_ramp,
        });
    }
}
