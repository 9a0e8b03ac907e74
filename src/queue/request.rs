//! What a waiter wants, and how it is answered.

use crate::core::limits::{LimitStatus, Request};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::acquire;
use crate::limiter::reply::RateLimitReply;
use crate::limiter::reserve::{self, Terms};
use crate::limiter::track;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::load::command::Refusal;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;
use std::ffi::CStr;

/// A request that may wait, with everything that it takes to decide it later.
/// Limits are as written: what they mean is looked up at each try.
#[derive(Clone, Debug)]
pub enum QueuedRequest {
    /// RL.ACQUIRE.
    Acquire {
        /// The call's own limits.
        limits: Option<Box<[u8]>>,
        /// Units.
        request: Request,
        /// The call asks for its key to be tracked.
        track: bool,
    },
    /// RL.RESERVE of one key.
    Reserve {
        /// The call's own limits.
        limits: Box<[u8]>,
        /// What it is known by.
        id: Box<[u8]>,
        /// Units.
        cost: u64,
        /// Reserve fewer units rather than none.
        partial: bool,
        /// For how long, in microseconds, from the grant.
        ttl_us: u64,
        /// May use the part that `keep=` keeps.
        critical: bool,
    },
}

/// A decision on an [`QueuedRequest`].
#[derive(Debug)]
pub enum QueuedDecision {
    /// Of RL.ACQUIRE.
    Acquire(acquire::AcquireDecision),
    /// Of RL.RESERVE.
    Reserve(reserve::ReserveDecision),
}

impl QueuedDecision {
    /// The reply.
    pub const fn reply(&self) -> RateLimitReply {
        match self {
            Self::Acquire(decision) => decision.reply,
            Self::Reserve(decision) => decision.reply,
        }
    }

    /// Counts the outcome as the command itself would.
    pub fn count(&self, main: MainThread) {
        match self {
            Self::Acquire(decision) if decision.reply.granted > 0 => {
                metrics::count(main, |m| &mut m.acquire_granted);
                metrics::add(main, |m| &mut m.acquire_granted_units, decision.reply.granted);
                decision.count(main);
            }
            Self::Acquire(decision) => {
                metrics::count(main, |m| &mut m.acquire_denied);
                decision.count(main);
            }
            Self::Reserve(decision) => {
                if decision.reply.granted == 0 {
                    metrics::count(main, |m| &mut m.reservations_denied);
                }
                decision.count(main);
            }
        }
    }

    /// The same request denied after all, with this reply.
    #[must_use]
    pub fn denied(self, reply: RateLimitReply) -> Self {
        match self {
            Self::Acquire(decision) => Self::Acquire(decision.denied(reply)),
            Self::Reserve(decision) => Self::Reserve(decision.denied(reply)),
        }
    }
}

impl QueuedRequest {
    /// RL.RESERVE of one key.
    pub fn reserve(terms: &Terms<'_>, limits: &[u8]) -> Self {
        let Terms { cost, partial, ttl_us, id, critical } = *terms;
        Self::Reserve { limits: limits.into(), id: id.into(), cost, partial, ttl_us, critical }
    }

    /// Units asked for.
    pub const fn cost(&self) -> u64 {
        match self {
            Self::Acquire { request, .. } => request.cost,
            Self::Reserve { cost, .. } => *cost,
        }
    }

    /// Whether it may pass a line.
    pub const fn critical(&self) -> bool {
        match self {
            Self::Acquire { request, .. } => request.critical,
            Self::Reserve { critical, .. } => *critical,
        }
    }

    /// The keyspace event of a grant.
    pub const fn event(&self) -> &'static CStr {
        match self {
            Self::Acquire { .. } => c"rl.acquire",
            Self::Reserve { .. } => c"rl.reserve",
        }
    }

    fn terms(&self) -> Terms<'_> {
        match self {
            Self::Acquire { request, .. } => {
                let Request { cost, partial, critical, .. } = *request;
                Terms { cost, partial, ttl_us: 0, id: &[], critical }
            }
            Self::Reserve { id, cost, partial, ttl_us, critical, .. } => {
                Terms { cost: *cost, partial: *partial, ttl_us: *ttl_us, id, critical: *critical }
            }
        }
    }

    /// Decides it on the value of a key, as if no line stood.
    ///
    /// # Errors
    /// Malformed limits, none at all, or such as can only be reserved.
    pub fn decide(
        &self,
        ctx: &Context<'_>,
        key: &[u8],
        value: Option<&RateLimit>,
        now: Micros,
    ) -> Result<QueuedDecision, Error> {
        match self {
            Self::Acquire { limits, request, .. } => {
                acquire::decide(ctx, key, value, limits.as_deref(), request, now).map(QueuedDecision::Acquire)
            }
            Self::Reserve { limits, .. } => {
                reserve::decide(ctx, key, value, limits, &self.terms(), now).map(QueuedDecision::Reserve)
            }
        }
    }

    /// How the limit that binds it stands while nothing is taken.
    ///
    /// # Errors
    /// As [`QueuedRequest::decide`].
    pub fn status_only(
        &self,
        ctx: &Context<'_>,
        key: &[u8],
        value: Option<&RateLimit>,
        decision: &QueuedDecision,
        now: Micros,
    ) -> Result<LimitStatus, Error> {
        match (self, decision) {
            (_, QueuedDecision::Reserve(decision)) => Ok(decision.before),
            (Self::Acquire { limits, request, .. }, decision) if decision.reply().granted > 0 => {
                acquire::status_only(ctx, key, value, limits.as_deref(), request, now)
            }
            (_, decision) => Ok(decision.reply().status),
        }
    }

    /// Runs `make_it_so` with the change that a granting decision asks for.
    ///
    /// # Errors
    /// Those of `make_it_so`.
    pub fn change(
        &self,
        main: MainThread,
        decision: &QueuedDecision,
        now: Micros,
        make_it_so: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match decision {
            QueuedDecision::Acquire(decision) => decision.change(main, make_it_so),
            QueuedDecision::Reserve(decision) => decision.change(main, &self.terms(), now, make_it_so),
        }
    }

    /// The change that counts the decision towards the key's usage, if it counts.
    pub fn counted(
        &self,
        main: MainThread,
        value: Option<&RateLimit>,
        granted: u64,
    ) -> Option<RateLimitChange<'static>> {
        let track = matches!(self, Self::Acquire { track: true, .. });
        track::counts(main, value, track).then(|| track::decided(self.cost(), granted))
    }

    /// Sends the reply in the command's own form.
    pub fn send(&self, ctx: &Context<'_>, answer: &Result<RateLimitReply, Error>) {
        match (self, answer) {
            (_, Err(error)) => error.send(ctx, None),
            (Self::Acquire { .. }, Ok(reply)) => reply.send(ctx),
            (Self::Reserve { id, .. }, Ok(reply)) => {
                reserve::send(ctx, (reply.granted > 0).then_some(&**id), &[*reply]);
            }
        }
    }
}
