//! `LIMIT …` of CB.ACQUIRE: what a call takes of a limit together with its breaker. That is
//! units, or, with TTL, a reservation, which may hold places as well: a bulkhead.

use crate::commands::arguments::{ArgCursor, cost, length};
use crate::commands::reserve::{self, id_of};
use crate::core::limits::Request;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire::AcquireDecision;
use crate::limiter::apply::{self, EffectBatch};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::reserve::{ReserveDecision, Terms, decide};
use crate::limiter::track;
use crate::observe::{metrics, top};
use crate::queue::{self, QueueAdmission, QueuedRequest};
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::{random, reply};
use crate::server::keys::key::{Key, ReadKey};
use crate::types::effect::breaker::BreakerEffect;
use crate::types::ratelimit::RateLimit;

const KEYWORDS: [&str; 4] = ["COST", "TTL", "ID", "CRITICAL"];

/// What the call also takes of a limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitClause<'a> {
    /// The limit's key.
    pub key: Arg<'a>,
    limits: &'a [u8],
    cost: u64,
    critical: bool,
    /// For how long it reserves, in microseconds; `None` where it reserves nothing.
    ttl_us: Option<u64>,
    id: Option<&'a [u8]>,
}

impl<'a> LimitClause<'a> {
    /// Parses what follows the word LIMIT, to the end.
    ///
    /// # Errors
    /// Malformed arguments.
    pub fn parse(walk: &mut ArgCursor<'a>) -> Result<Self, Error> {
        let needs = || Error::Usage("syntax error: LIMIT needs a key and limits".to_owned());
        let (key, limits) = (walk.take().ok_or_else(needs)?, walk.take().ok_or_else(needs)?.bytes());
        let mut clause = Self { key, limits, cost: 1, critical: false, ttl_us: None, id: None };
        while let Some(option) = walk.option(&KEYWORDS)? {
            match option {
                "COST" => clause.cost = cost(walk.value_of(option)?)?,
                "TTL" => clause.ttl_us = Some(length(walk.value_of(option)?)?),
                "ID" => clause.id = Some(id_of(walk.value_of(option)?)?),
                _ => clause.critical = true,
            }
        }
        if clause.id.is_some() && clause.ttl_us.is_none() {
            return Err(Error::Usage("syntax error: ID needs TTL, such as TTL 30s".to_owned()));
        }
        Ok(clause)
    }

    /// Whether it reserves: then [`LimitClause::reserve`] decides it, else
    /// [`LimitClause::acquire`].
    pub const fn reserves(&self) -> bool {
        self.ttl_us.is_some()
    }

    /// Decides on the value of its key whether it gets its units, without changing it.
    ///
    /// # Errors
    /// Malformed limits, none at all, a key of another type, or `concurrent`.
    #[inline]
    pub fn acquire(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        now: Micros,
    ) -> Result<AcquireDecision, Error> {
        let held = key.value::<RateLimit>()?;
        let request = Request { cost: self.cost, calls: 1, partial: false, critical: self.critical };
        queue::decide(ctx, self.key, held.as_deref(), Some(self.limits), &request, now)
    }

    /// Decides on the value of its key whether it gets its reservation, without changing it.
    ///
    /// # Errors
    /// Malformed limits, none at all, or a key of another type.
    pub fn reserve(
        &self,
        ctx: &Context<'_>,
        key: &ReadKey<'_>,
        now: Micros,
    ) -> Result<ClauseReservation<'a>, Error> {
        let held = key.value::<RateLimit>()?;
        let id = self.id.map_or_else(|| ReservationId::Made(random::hex()), ReservationId::Given);
        let terms = self.terms(&id);
        let mut one = decide(ctx, self.key.bytes(), held.as_deref(), self.limits, &terms, now)?;
        // The same reservation, where it stands already, asks nothing of a line.
        let wants = one.takes() || one.reply.granted == 0;
        if wants && queue::has_queue(ctx, self.key) {
            let ask = QueuedRequest::reserve(&terms, self.limits);
            // It does not wait, so it is never enqueued.
            if let QueueAdmission::Denied(denial) = queue::admit(ctx, key, &ask, 0, now)? {
                one = one.denied(denial.reply());
            }
        }
        Ok(ClauseReservation { one, id })
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

/// What a reservation is known by.
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

/// A reservation of the clause, decided.
#[derive(Debug)]
pub struct ClauseReservation<'a> {
    one: ReserveDecision,
    id: ReservationId<'a>,
}

/// What the limit says of a call: that is told to the breaker's side alike, whether units
/// are taken or reserved.
pub trait LimitDecision {
    /// The reply.
    fn reply(&self) -> &RateLimitReply;

    /// The breaker lets the call through, so that this decides: what a denial closes,
    /// closes.
    fn close(&mut self);

    /// Counts a decision that stands.
    fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros);

    /// Records what was decided; an effect of the circuit travels with it as one command,
    /// and so does what is counted of a tracked key.
    ///
    /// # Errors
    /// The effect does not fit.
    fn take<'k>(
        &self,
        ctx: &Context<'_>,
        clause: &LimitClause<'_>,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error>;

    /// Writes the fifth element of the reply.
    fn send(&self, ctx: &Context<'_>);
}

impl LimitDecision for AcquireDecision {
    fn reply(&self) -> &RateLimitReply {
        &self.reply
    }

    fn close(&mut self) {
        self.close();
    }

    fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros) {
        top::decided(ctx.main(), key.bytes(), self.reply.granted > 0, now);
        self.count(ctx.main());
    }

    fn take<'k>(
        &self,
        ctx: &Context<'_>,
        clause: &LimitClause<'_>,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error> {
        let counts = track::counts(ctx.main(), key.value::<RateLimit>()?.as_deref(), false);
        if circuit.is_none() && !counts {
            return self.change(ctx.main(), |change| {
                apply::commit(ctx, key, &apply::effect(ctx, now, change), c"rl.acquire").map(drop)
            });
        }
        let mut together = beside(ctx, circuit);
        self.change(ctx.main(), |change| {
            together.apply(ctx, key, &apply::effect(ctx, now, change), c"rl.acquire")
        })?;
        if counts {
            let counted = track::decided(clause.cost, self.reply.granted);
            together.apply(ctx, key, &apply::effect(ctx, now, counted), c"rl.acquire")?;
        }
        together.propagate(ctx);
        Ok(())
    }

    fn send(&self, ctx: &Context<'_>) {
        self.reply.send(ctx);
    }
}

impl LimitDecision for ClauseReservation<'_> {
    fn reply(&self) -> &RateLimitReply {
        &self.one.reply
    }

    fn close(&mut self) {
        self.one.close();
    }

    /// What is reserved counts where it is recorded.
    fn count(&self, ctx: &Context<'_>, key: Arg<'_>, now: Micros) {
        if self.one.reply.granted == 0 {
            metrics::count(ctx.main(), |m| &mut m.reservations_denied);
            top::decided(ctx.main(), key.bytes(), false, now);
        }
    }

    fn take<'k>(
        &self,
        ctx: &Context<'_>,
        clause: &LimitClause<'_>,
        circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>,
        key: &mut Key<'k>,
        now: Micros,
    ) -> Result<(), Error> {
        let mut together = beside(ctx, circuit);
        reserve::settle(ctx, key, &self.one, &clause.terms(&self.id), now, &mut together)?;
        together.propagate(ctx);
        Ok(())
    }

    /// `[id|nil, reply]`.
    fn send(&self, ctx: &Context<'_>) {
        reply::array(ctx, 2);
        if self.one.reply.granted > 0 {
            reply::bytes(ctx, self.id.bytes());
        } else {
            reply::null(ctx);
        }
        self.one.reply.send(ctx);
    }
}

/// Effects that travel with that of the circuit, where it changed.
fn beside<'k>(ctx: &Context<'_>, circuit: Option<(Arg<'k>, &BreakerEffect<'_>)>) -> EffectBatch<'k> {
    let mut together = EffectBatch::new(ctx);
    if let Some((name, effect)) = circuit {
        together.add(name, |out| effect.encode(out));
    }
    together
}

/// A key that gives places gives them for a time: the way out is TTL.
#[cold]
pub fn in_words_of_ttl(error: Error) -> Error {
    match error {
        Error::Concurrent(limit) => Error::ConcurrentWithoutTtl(limit),
        other => other,
    }
}
