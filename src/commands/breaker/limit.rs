//! `LIMIT …` of CB.ACQUIRE: what a call takes of a limit together with its breaker. Without TTL it
//! takes units. With TTL it takes a reservation, which may hold places as well: a bulkhead.

use crate::commands::arguments::{COST, CRITICAL, ID, LIMITS, TTL, cost, length};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::commands::reserve::{self, id_of};
use crate::core::limits::Request;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{self, EffectBatch, commit_with};
use crate::limiter::ends::{all_at_once, tried_out};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::resolve::KeyView;
use crate::limiter::track::Recording;
use crate::observe::top::RequestOutcome;
use crate::observe::{metrics, top};
use crate::queue::{self, LaterKey, QueueAdmission, QueuedDecision, QueuedRequest};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::random;
use crate::server::ffi::reply::{self, Reply};
use crate::server::keys::key::{Key, ReadKey};
use crate::server::load::argument::Argument;
use crate::types::effect::breaker::BreakerEffect;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;
use std::borrow::Cow;

/// `rlkey limits [COST n] [TTL d [ID id]] [CRITICAL]`
pub const ARGUMENTS: &[Argument] = &[
    Argument::key("rlkey"),
    LIMITS,
    COST,
    Argument::group("reservation", &[TTL, ID.after("ID").optional()]).optional(),
    CRITICAL,
];

/// The limit of a call, and what the call takes of it.
#[derive(Clone, Debug)]
pub struct LimitClause<'a> {
    /// The key of the limit.
    pub key: Arg<'a>,
    /// The request of the call for units, or with TTL for a reservation. The request never waits.
    request: QueuedRequest<'a>,
}

impl<'a> LimitClause<'a> {
    /// Parses the arguments after LIMIT, to the end.
    ///
    /// # Errors
    /// The arguments are malformed.
    pub fn parse(cursor: &mut ArgCursor<'a>) -> Result<Self, Error> {
        let needs = || Error::Usage("syntax error: LIMIT needs a key and limits".to_owned());
        let (key, limits) = (cursor.take().ok_or_else(needs)?, cursor.take().ok_or_else(needs)?.bytes());
        let (mut request, mut ttl, mut id) = (Request::of(1), None, None);
        while let Some((option, value)) = cursor.option(const { &Options::of(ARGUMENTS) })? {
            match option {
                "COST" => request.cost = cost(value)?,
                "TTL" => ttl = Some(length(value)?),
                "ID" => id = Some(id_of(value)?),
                "CRITICAL" => request.critical = true,
                _ => return Err(hints::not_taken(option)),
            }
        }
        let request = match (ttl, id) {
            (None, None) => QueuedRequest::acquire(Some(limits), &request),
            (None, Some(_)) => {
                return Err(Error::Usage("syntax error: ID needs TTL, such as TTL 30s".to_owned()));
            }
            (Some(ttl_us), id) => {
                let id = id.map_or_else(|| Cow::Owned(random::hex::<32>().to_vec()), Cow::Borrowed);
                QueuedRequest::Reserve { limits: limits.into(), request, ttl_us, id }
            }
        };
        Ok(Self { key, request })
    }

    /// Decides whether the call gets its units or its reservation. The key does not change.
    ///
    /// # Errors
    /// The limits are malformed or there are none, the key has another type, or the limit is
    /// `concurrent` and there is no TTL.
    pub fn decide(&self, ctx: &Context<'_>, key: &ReadKey<'_>, now: Micros) -> Result<QueuedDecision, Error> {
        let held = key.value::<RateLimit>()?;
        if let QueuedRequest::Acquire { limits, request, .. } = &self.request {
            return queue::decide(ctx, self.key, held.as_deref(), limits.as_deref(), request, now)
                .map(QueuedDecision::Acquire)
                .map_err(in_words_of_ttl);
        }
        let one = self.request.decide(KeyView::of(ctx, self.key, held.as_deref(), now))?;
        // A reservation that already exists asks nothing of a queue.
        if !one.is_retry()
            && queue::has_queue(ctx, self.key)
            && let QueueAdmission::Denied(denial) = queue::admit(ctx, key, &self.request, 0, now)?
        {
            return Ok(*denial);
        }
        Ok(one)
    }

    /// The time until the breaker and the limit would let the call through at once, if nobody else
    /// asks. `decision` is what the limit decides now, and the breaker admits the call after `breaker`.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn retry_beside(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        decision: &QueuedDecision,
        breaker: RetryAfter,
        now: Micros,
    ) -> Result<RetryAfter, Error> {
        let held = key.value::<RateLimit>()?;
        let copy = tried_out(KeyView::of(ctx, self.key, held.as_deref(), now))?;
        let found = KeyView::of(ctx, self.key, copy.as_ref(), now);
        let later = LaterKey::of(ctx, self.key, found, self.request.class());
        let longest = breaker.max(decision.reply().status.retry);
        Ok(all_at_once(longest, queue::ends(ctx, self.key), now, |then| {
            let alone = self.request.decide(found.at(found.value, then));
            // A reservation that already exists asks nothing of a queue.
            if alone.is_ok_and(|one| one.is_retry()) {
                return Ok(RetryAfter::Now);
            }
            later.retry(then, |then| Ok(self.request.decide(then)?.reply().status.retry))
        }))
    }

    /// Records on the limit's key that the clock stepped back, if it did. The breaker denies the call,
    /// so nothing else of the key changes. An effect of the circuit is propagated with it as one
    /// command.
    ///
    /// # Errors
    /// The effect does not fit.
    pub fn step_back<'k>(
        &self,
        ctx: &Context<'_>,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error> {
        beside(ctx, circuit, |effects| {
            let held = key.value::<RateLimit>()?;
            let stepped_back = KeyView::of(ctx, self.key, held.as_deref(), now).stepped_back();
            if stepped_back {
                let touch = apply::effect(ctx, now, RateLimitChange::Touch(None));
                commit_with(ctx, effects, key, &touch, c"cb.acquire")?;
            }
            Ok(())
        })
    }

    /// Counts a decision that stands. A reservation that is granted is counted where it is
    /// recorded.
    pub fn count(&self, ctx: &Context<'_>, decision: &QueuedDecision, now: Micros) {
        let granted = decision.reply().granted > 0;
        match decision {
            QueuedDecision::Acquire(decision) => decision.count(ctx.main()),
            QueuedDecision::Reserve(_) if granted => return,
            QueuedDecision::Reserve(_) => metrics::count(ctx.main(), |m| &mut m.reservations_denied),
        }
        top::decided(ctx.main(), self.key.bytes(), RequestOutcome::of(granted), now);
    }

    /// Applies the decision. An effect of the circuit, and the usage of a tracked key, are
    /// propagated with it as one command.
    ///
    /// # Errors
    /// The effect does not fit.
    pub fn apply<'k>(
        &self,
        ctx: &Context<'_>,
        decision: &QueuedDecision,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error> {
        let one = match decision {
            QueuedDecision::Acquire(one) => one,
            QueuedDecision::Reserve(one) => {
                let terms = self.request.terms();
                return beside(ctx, circuit, |effects| {
                    reserve::apply_decision(ctx, key, one, &terms, now, effects)
                });
            }
        };
        let counted =
            self.request.counted(ctx.main(), key.value::<RateLimit>()?.as_deref(), one.reply.granted);
        let recording = Recording { ctx, now, event: self.request.event() };
        if circuit.is_none() {
            return recording.alone(key, counted, |make| one.change(ctx.main(), make));
        }
        beside(ctx, circuit, |effects| {
            recording.beside(effects, key, counted, |make| one.change(ctx.main(), make))
        })
    }

    /// The fifth element of the reply of CB.ACQUIRE.
    pub fn reply(&self, decision: &QueuedDecision) -> ClauseReply<'_> {
        ClauseReply { id: self.request.id(), reply: decision.reply() }
    }
}

/// The limit's reply, or `[id|nil, reply]` with TTL.
#[derive(Clone, Copy, Debug)]
pub struct ClauseReply<'r> {
    id: Option<&'r [u8]>,
    /// The limit's reply.
    pub reply: RateLimitReply,
}

impl Reply for ClauseReply<'_> {
    fn send(&self, ctx: &Context<'_>) {
        match self.id {
            None => self.reply.send(ctx),
            Some(id) => reply::array(ctx, &[&(self.reply.granted > 0).then_some(id), &self.reply]),
        }
    }
}

/// Runs `apply`, and propagates its effects after that of the circuit, if this changed.
fn beside<'k>(
    ctx: &Context<'_>,
    circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
    apply: impl FnOnce(&mut EffectBatch<'k>) -> Result<(), Error>,
) -> Result<(), Error> {
    EffectBatch::run(ctx, |effects| {
        if let Some((name, effect)) = circuit {
            effects.add(name, |out| effect.encode(out));
        }
        apply(effects)
    })
}

/// Names the way out for a limit of places: its reservation needs TTL here.
#[cold]
fn in_words_of_ttl(error: Error) -> Error {
    match error {
        Error::Concurrent(limit) => Error::ConcurrentWithoutTtl(limit),
        other => other,
    }
}
