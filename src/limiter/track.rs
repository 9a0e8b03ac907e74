//! Whether a call counts towards its key's usage. A decision and its count are recorded together.

use crate::core::time::Micros;
use crate::core::usage::Decided;
use crate::limiter::Error;
use crate::limiter::apply::{self, EffectBatch, commit_with};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::{RateLimit, tracked};
use std::ffi::CStr;

/// True if the key may carry usage: it already does, or there is room for one more key. A key that
/// may not is counted as refused.
pub fn may(main: MainThread, value: Option<&RateLimit>) -> bool {
    if value.is_some_and(|value| value.usage().is_some()) {
        return true;
    }
    let room = tracked::has_room();
    if !room {
        metrics::count(main, |m| &mut m.track_refused);
    }
    room
}

/// False if no key is tracked, and none is unless a call asks for it. Callers then need not look at
/// each key.
#[inline]
pub fn any(main: MainThread) -> bool {
    tracked::count() > 0 || settings::track_usage(main)
}

/// True if a decision on the key is counted. The key is already tracked, or the call or the server
/// asks for it and there is room.
#[inline]
pub fn counts(main: MainThread, value: Option<&RateLimit>, asked: bool) -> bool {
    value.is_some_and(|value| value.usage().is_some())
        || ((asked || settings::track_usage(main)) && may(main, value))
}

/// The change that counts a decision on a request of `cost` units; `None` if it is not counted, see
/// [`counts`].
#[inline]
pub fn counted(
    main: MainThread,
    value: Option<&RateLimit>,
    asked: bool,
    cost: u64,
    granted: u64,
) -> Option<RateLimitChange<'static>> {
    counts(main, value, asked).then(|| decided(cost, granted))
}

/// The change that counts a decision on a request of `cost` units.
pub const fn decided(cost: u64, granted: u64) -> RateLimitChange<'static> {
    RateLimitChange::Count(Decided { granted, denied: cost.saturating_sub(granted) })
}

/// How a command records what it decided on a key.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'c, 's> {
    /// The command's context.
    pub ctx: &'c Context<'s>,
    /// The time of the decision.
    pub now: Micros,
    /// The keyspace event of a change.
    pub event: &'static CStr,
}

/// A function that makes a change to the key.
type MakeChange<'m> = dyn FnMut(RateLimitChange<'_>) -> Result<(), Error> + 'm;

impl Recording<'_, '_> {
    /// Makes the changes of `decided` to the key, then the change of `counted`. They are propagated
    /// together, and alone: with no effect on another key.
    ///
    /// # Errors
    /// The effect does not fit.
    #[inline]
    pub fn alone(
        self,
        key: &mut Key<'_>,
        counted: Option<RateLimitChange<'static>>,
        decided: impl FnOnce(&mut MakeChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if counted.is_none() {
            return decided(&mut |change| self.change(key, change));
        }
        EffectBatch::run(self.ctx, |effects| self.beside(effects, key, counted, decided))
    }

    /// Makes one change to the key and propagates it.
    ///
    /// # Errors
    /// The effect does not fit.
    #[inline]
    pub fn change(self, key: &mut Key<'_>, change: RateLimitChange<'_>) -> Result<(), Error> {
        let Self { ctx, now, event } = self;
        apply::commit(ctx, key, &apply::effect(ctx, now, change), event).map(drop)
    }

    /// The same as [`Recording::alone`], but the effects are propagated with the others of
    /// `effects`.
    ///
    /// # Errors
    /// The effect does not fit.
    #[inline]
    pub fn beside<'k>(
        self,
        effects: &mut EffectBatch<'k>,
        key: &mut Key<'k>,
        counted: Option<RateLimitChange<'static>>,
        decided: impl FnOnce(&mut MakeChange<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { ctx, now, event } = self;
        let mut make = |change: RateLimitChange<'_>| {
            commit_with(ctx, effects, key, &apply::effect(ctx, now, change), event).map(drop)
        };
        decided(&mut make)?;
        counted.map_or(Ok(()), make)
    }
}
