//! `LIMIT …` of CB.ACQUIRE: what a call takes of a limit together with its breaker. Without TTL it
//! takes units. With TTL it takes a reservation, which may hold places as well: a bulkhead.

use crate::commands::arguments::{ArgCursor, COST, CRITICAL, ID, LIMITS, TTL, cost, length};
use crate::commands::options::Options;
use crate::commands::reserve::{self, id_of};
use crate::core::limits::Request;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::{self, AcquireDecision};
use crate::limiter::apply::{self, EffectBatch, commit_with};
use crate::limiter::ends::{all_at_once, tried_out};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::reserve::{ReserveDecision, Terms, decide, is_open};
use crate::limiter::resolve::KeyView;
use crate::limiter::track::{self, Recording};
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

/// `rlkey limits [COST n] [TTL d [ID id]] [CRITICAL]`
pub const ARGUMENTS: &[Argument] = &[
    Argument::key("rlkey"),
    LIMITS,
    COST,
    Argument::group("reservation", &[TTL, ID.after("ID").optional()]).optional(),
    CRITICAL,
];

/// The limit of a call, and what the call takes of it.
#[derive(Clone, Copy, Debug)]
pub struct LimitClause<'a> {
    /// The key of the limit.
    pub key: Arg<'a>,
    limits: &'a [u8],
    cost: u64,
    critical: bool,
    /// The time for which units are reserved, in microseconds; `None` if nothing is reserved.
    ttl_us: Option<u64>,
    id: Option<&'a [u8]>,
}

impl<'a> LimitClause<'a> {
    /// Parses the arguments after LIMIT, to the end.
    ///
    /// # Errors
    /// The arguments are malformed.
    pub fn parse(cursor: &mut ArgCursor<'a>) -> Result<Self, Error> {
        let needs = || Error::Usage("syntax error: LIMIT needs a key and limits".to_owned());
        let (key, limits) = (cursor.take().ok_or_else(needs)?, cursor.take().ok_or_else(needs)?.bytes());
        let mut clause = Self { key, limits, cost: 1, critical: false, ttl_us: None, id: None };
        while let Some((option, value)) = cursor.option(const { &Options::of(ARGUMENTS) })? {
            match option {
                "COST" => clause.cost = cost(value)?,
                "TTL" => clause.ttl_us = Some(length(value)?),
                "ID" => clause.id = Some(id_of(value)?),
                _ => clause.critical = true,
            }
        }
        if clause.id.is_some() && clause.ttl_us.is_none() {
            return Err(Error::Usage("syntax error: ID needs TTL, such as TTL 30s".to_owned()));
        }
        Ok(clause)
    }

    /// Decides whether the call gets its units or its reservation. The key does not change.
    ///
    /// # Errors
    /// The limits are malformed or there are none, the key has another type, or the limit is
    /// `concurrent` and there is no TTL.
    pub fn decide(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        now: Micros,
    ) -> Result<ClauseDecision<'a>, Error> {
        if self.ttl_us.is_some() {
            return self.reserve(ctx, key, now).map(ClauseDecision::Reservation);
        }
        let held = key.value::<RateLimit>()?;
        queue::decide(ctx, self.key, held.as_deref(), Some(self.limits), &self.request(), now)
            .map(ClauseDecision::Units)
            .map_err(in_words_of_ttl)
    }

    fn reserve(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        now: Micros,
    ) -> Result<ClauseReservation<'a>, Error> {
        let held = key.value::<RateLimit>()?;
        let id = self.id.map_or_else(|| ReservationId::Made(random::hex()), ReservationId::Given);
        let terms = self.terms(&id);
        let found = KeyView::of(ctx, self.key, held.as_deref(), now);
        let mut one = decide(found, self.limits, &terms)?;
        // A reservation that already exists asks nothing of a queue.
        let wants = one.takes() || one.reply.granted == 0;
        if wants && queue::has_queue(ctx, self.key) {
            let ask = QueuedRequest::reserve(&terms, self.limits);
            // The call does not wait, so it is never enqueued.
            if let QueueAdmission::Denied(decision) = queue::admit(ctx, key, &ask, 0, now)?
                && let QueuedDecision::Reserve(denial) = *decision
            {
                one = denial;
            }
        }
        Ok(ClauseReservation { one, id })
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
        decision: &ClauseDecision<'_>,
        breaker: RetryAfter,
        now: Micros,
    ) -> Result<RetryAfter, Error> {
        let held = key.value::<RateLimit>()?;
        let copy = tried_out(KeyView::of(ctx, self.key, held.as_deref(), now))?;
        let limit = LaterKey::of(ctx, self.key, copy.as_ref(), now, self.critical, true);
        let retry = |then: KeyView<'_>| {
            let reply = match decision {
                ClauseDecision::Units(_) => acquire::decide(then, Some(self.limits), &self.request())?.reply,
                ClauseDecision::Reservation(ClauseReservation { id, .. }) => {
                    decide(then, self.limits, &self.terms(id))?.reply
                }
            };
            Ok(reply.status.retry)
        };
        let longest = breaker.max(decision.reply().status.retry);
        Ok(all_at_once(longest, now, |then| match decision {
            // A reservation that already exists asks nothing of a queue.
            ClauseDecision::Reservation(ClauseReservation { id, .. })
                if is_open(copy.as_ref(), id.bytes(), then) =>
            {
                Ok(RetryAfter::Now)
            }
            _ => limit.retry(then, retry),
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
                commit_with(ctx, Some(effects), key, &touch, c"cb.acquire")?;
            }
            Ok(())
        })
    }

    const fn request(&self) -> Request {
        Request { cost: self.cost, calls: 1, partial: false, critical: self.critical }
    }

    fn terms<'t>(&self, id: &'t ReservationId<'_>) -> Terms<'t> {
        Terms {
            cost: self.cost,
            partial: false,
            ttl_us: self.ttl_us.unwrap_or_default(),
            id: id.bytes(),
            critical: self.critical,
        }
    }
}

/// The ID of a reservation.
#[derive(Clone, Copy, Debug)]
enum ReservationId<'a> {
    /// The caller chose it.
    Given(&'a [u8]),
    /// The server made it.
    Made([u8; 32]),
}

impl ReservationId<'_> {
    const fn bytes(&self) -> &[u8] {
        match self {
            Self::Given(id) => id,
            Self::Made(id) => id,
        }
    }
}

/// The decision on a reservation of the clause.
#[derive(Debug)]
pub struct ClauseReservation<'a> {
    one: ReserveDecision,
    id: ReservationId<'a>,
}

/// What the limit decides for a call.
#[derive(Debug)]
pub enum ClauseDecision<'a> {
    /// The decision on units, for a call without TTL.
    Units(AcquireDecision),
    /// The decision on a reservation, for a call with TTL.
    Reservation(ClauseReservation<'a>),
}

impl ClauseDecision<'_> {
    /// The reply.
    pub const fn reply(&self) -> &RateLimitReply {
        match self {
            Self::Units(decision) => &decision.reply,
            Self::Reservation(decision) => &decision.one.reply,
        }
    }

    /// Puts the blocks of a denial in force. Called if the breaker admits the call, so that this
    /// decision counts.
    pub fn close(&mut self) {
        match self {
            Self::Units(decision) => decision.close(),
            Self::Reservation(decision) => decision.one.close(),
        }
    }

    /// Counts a decision that stands. A reservation that is granted is counted where it is
    /// recorded.
    pub fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros) {
        let granted = self.reply().granted > 0;
        match self {
            Self::Units(decision) => decision.count(ctx.main()),
            Self::Reservation(_) if granted => return,
            Self::Reservation(_) => metrics::count(ctx.main(), |m| &mut m.reservations_denied),
        }
        top::decided(ctx.main(), key.bytes(), granted, now);
    }

    /// Applies the decision. An effect of the circuit, and the usage of a tracked key, are
    /// propagated with it as one command.
    ///
    /// # Errors
    /// The effect does not fit.
    pub fn apply<'k>(
        &self,
        ctx: &Context<'_>,
        clause: &LimitClause<'_>,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error> {
        match self {
            Self::Units(decision) => {
                let (value, granted) = (key.value::<RateLimit>()?, decision.reply.granted);
                let counted = track::counted(ctx.main(), value.as_deref(), false, clause.cost, granted);
                let recording = Recording { ctx, now, event: c"rl.acquire" };
                if circuit.is_none() {
                    return recording.alone(key, counted, |make| decision.change(ctx.main(), make));
                }
                beside(ctx, circuit, |effects| {
                    recording.beside(effects, key, counted, |make| decision.change(ctx.main(), make))
                })
            }
            Self::Reservation(ClauseReservation { one, id }) => beside(ctx, circuit, |effects| {
                reserve::apply_decision(ctx, key, one, &clause.terms(id), now, effects)
            }),
        }
    }
}

/// Writes the fifth element of the reply of CB.ACQUIRE: the limit's reply, or `[id|nil, reply]`
/// with TTL.
impl Reply for ClauseDecision<'_> {
    fn send(&self, ctx: &Context<'_>) {
        match self {
            Self::Units(decision) => decision.reply.send(ctx),
            Self::Reservation(ClauseReservation { one, id }) => {
                let id = (one.reply.granted > 0).then(|| id.bytes());
                reply::array(ctx, &[&id, &one.reply]);
            }
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
