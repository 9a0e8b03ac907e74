//! The request of a waiter, and how it is answered.

use crate::core::limits::{LimitStatus, Request};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::acquire::{self, AcquireDecision};
use crate::limiter::reply::RateLimitReply;
use crate::limiter::reserve::{self, ReserveDecision, Terms};
use crate::limiter::resolve::KeyView;
use crate::limiter::track;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::reply::Reply;
use crate::server::load::entry::CommandError;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::RateLimit;
use std::borrow::Cow;
use std::ffi::CStr;

/// A request that may wait, with all that is needed to decide it later. Limits are kept as written,
/// and looked up again at each try.
#[derive(Clone, Debug)]
pub enum QueuedRequest<'a> {
    /// A request of RL.ACQUIRE.
    Acquire {
        /// The limits of the call.
        limits: Option<Cow<'a, [u8]>>,
        /// The request to the limits.
        request: Request,
        /// True if the call asks for its key to be tracked.
        track: bool,
    },
    /// A request of RL.RESERVE on one key.
    Reserve {
        /// The limits of the call.
        limits: Cow<'a, [u8]>,
        /// The request to the limits.
        request: Request,
        /// The time for which units are reserved, in microseconds from the grant.
        ttl_us: u64,
        /// The ID of the reservation.
        id: Cow<'a, [u8]>,
    },
}

/// A decision on a [`QueuedRequest`].
#[derive(Debug)]
pub enum QueuedDecision {
    /// A decision on a request of RL.ACQUIRE.
    Acquire(AcquireDecision),
    /// A decision on a request of RL.RESERVE.
    Reserve(ReserveDecision),
}

impl QueuedDecision {
    /// The reply of the decision.
    pub const fn reply(&self) -> RateLimitReply {
        match self {
            Self::Acquire(decision) => decision.reply,
            Self::Reserve(decision) => decision.reply,
        }
    }

    /// True if the request is granted because its reservation is open already: another request with
    /// its ID took it.
    pub const fn is_retry(&self) -> bool {
        matches!(self, Self::Reserve(decision) if decision.reply.granted > 0 && !decision.takes())
    }

    /// Puts the blocks of a denial in force, because the request does not wait.
    pub fn close(&mut self) {
        match self {
            Self::Acquire(decision) => decision.close(),
            Self::Reserve(decision) => decision.close(),
        }
    }

    /// Counts the outcome as the command itself does.
    pub fn count(&self, main: MainThread) {
        match self {
            Self::Acquire(decision) => {
                if decision.reply.granted > 0 {
                    metrics::count(main, |m| &mut m.acquire_granted);
                    metrics::add(main, |m| &mut m.acquire_granted_units, decision.reply.granted);
                } else {
                    metrics::count(main, |m| &mut m.acquire_denied);
                }
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
}

/// A decision that a queue may correct: who waits there goes first.
pub(super) trait CorrectableDecision: Sized {
    /// The reply of the decision.
    fn reply(&self) -> RateLimitReply;
    /// Corrects the retry of a denial, as [`AcquireDecision::correct_retry`].
    fn correct_retry(&mut self, found: KeyView<'_>, retry: impl Fn(KeyView<'_>) -> RetryAfter);
    /// The denial of the same request after all, with this reply.
    #[must_use]
    fn denied(self, reply: RateLimitReply) -> Self;
}

impl CorrectableDecision for AcquireDecision {
    fn reply(&self) -> RateLimitReply {
        self.reply
    }

    fn correct_retry(&mut self, found: KeyView<'_>, retry: impl Fn(KeyView<'_>) -> RetryAfter) {
        self.correct_retry(found, retry);
    }

    fn denied(self, reply: RateLimitReply) -> Self {
        self.denied(reply)
    }
}

impl CorrectableDecision for QueuedDecision {
    fn reply(&self) -> RateLimitReply {
        self.reply()
    }

    fn correct_retry(&mut self, found: KeyView<'_>, retry: impl Fn(KeyView<'_>) -> RetryAfter) {
        match self {
            Self::Acquire(decision) => decision.correct_retry(found, retry),
            Self::Reserve(decision) => decision.correct_retry(found, retry),
        }
    }

    fn denied(self, reply: RateLimitReply) -> Self {
        match self {
            Self::Acquire(decision) => Self::Acquire(decision.denied(reply)),
            Self::Reserve(decision) => Self::Reserve(decision.denied(reply)),
        }
    }
}

impl<'a> QueuedRequest<'a> {
    /// A request of RL.ACQUIRE, or of another command that takes units as it does. It is not
    /// counted towards usage.
    pub fn acquire(given: Option<&'a [u8]>, request: &Request) -> Self {
        Self::Acquire { limits: given.map(Into::into), request: *request, track: false }
    }

    /// A request of RL.RESERVE on one key.
    pub fn reserve(terms: &Terms<'a>, limits: &'a [u8]) -> Self {
        let Terms { request, ttl_us, id } = *terms;
        Self::Reserve { limits: limits.into(), request, ttl_us, id: id.into() }
    }

    /// The same request with texts of its own, so that it may wait.
    pub fn to_owned(&self) -> QueuedRequest<'static> {
        let owned = |text: &[u8]| Cow::Owned(text.to_vec());
        match self {
            Self::Acquire { limits, request, track } => QueuedRequest::Acquire {
                limits: limits.as_deref().map(owned),
                request: *request,
                track: *track,
            },
            Self::Reserve { limits, request, ttl_us, id } => QueuedRequest::Reserve {
                limits: owned(limits),
                request: *request,
                ttl_us: *ttl_us,
                id: owned(id),
            },
        }
    }

    /// The request to the limits.
    pub const fn request(&self) -> &Request {
        match self {
            Self::Acquire { request, .. } | Self::Reserve { request, .. } => request,
        }
    }

    /// The class of those who wait with such a request.
    pub const fn class(&self) -> WaiterClass {
        WaiterClass::of(self.request().critical)
    }

    /// The ID of the reservation that is asked for.
    pub fn id(&self) -> Option<&[u8]> {
        match self {
            Self::Acquire { .. } => None,
            Self::Reserve { id, .. } => Some(id),
        }
    }

    /// The keyspace event of a grant.
    pub const fn event(&self) -> &'static CStr {
        match self {
            Self::Acquire { .. } => c"rl.acquire",
            Self::Reserve { .. } => c"rl.reserve",
        }
    }

    /// The terms of the reservation. A request for units has none, and its terms no ID.
    pub fn terms(&self) -> Terms<'_> {
        match self {
            Self::Acquire { request, .. } => Terms { request: *request, ttl_us: 0, id: &[] },
            Self::Reserve { request, ttl_us, id, .. } => Terms { request: *request, ttl_us: *ttl_us, id },
        }
    }

    /// Decides the request on the value of a key, as if there were no queue.
    ///
    /// # Errors
    /// Malformed limits, no limits, or limits that only reservations can take.
    pub fn decide(&self, found: KeyView<'_>) -> Result<QueuedDecision, Error> {
        match self {
            Self::Acquire { limits, request, .. } => {
                acquire::decide(found, limits.as_deref(), request).map(QueuedDecision::Acquire)
            }
            Self::Reserve { limits, .. } => {
                reserve::decide(found, limits, &self.terms()).map(QueuedDecision::Reserve)
            }
        }
    }

    /// The status of the limit that binds the request, while nothing is taken.
    ///
    /// # Errors
    /// The same as [`QueuedRequest::decide`].
    pub fn status_only(&self, found: KeyView<'_>, decision: &QueuedDecision) -> Result<LimitStatus, Error> {
        match (self, decision) {
            (_, QueuedDecision::Reserve(decision)) => Ok(decision.before),
            (Self::Acquire { limits, request, .. }, QueuedDecision::Acquire(decision)) => {
                decision.status_before(found, limits.as_deref(), request)
            }
            (Self::Reserve { limits, request, .. }, QueuedDecision::Acquire(decision)) => {
                decision.status_before(found, Some(limits), request)
            }
        }
    }

    /// Calls `make` with the change that a granting decision asks for.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn change(
        &self,
        main: MainThread,
        decision: &QueuedDecision,
        now: Micros,
        make: impl FnOnce(RateLimitChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match decision {
            QueuedDecision::Acquire(decision) => decision.change(main, make),
            QueuedDecision::Reserve(decision) => decision.change(main, &self.terms(), now, make),
        }
    }

    /// The change that counts the decision towards the key's usage, if it counts.
    pub fn counted(
        &self,
        main: MainThread,
        value: Option<&RateLimit>,
        granted: u64,
    ) -> Option<RateLimitChange<'static>> {
        let asked = matches!(self, Self::Acquire { track: true, .. });
        track::counted(main, value, asked, self.request().cost, granted)
    }

    /// Sends the reply in the form of the request's command.
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
