//! From a decision to the key, the replicas and the AOF.

use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::door;
use crate::server::effects::replicate;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::Key;
use crate::server::main_thread::MainThreadCell;
use crate::types::effect::ratelimit::{
    AppliedRateLimit, COMMAND, RateLimitChange, RateLimitEffect, put_created,
};
use crate::types::operator::{BLOCKED, PINNED};
use crate::types::ratelimit::{Lifetime, RateLimit};
use std::ffi::CStr;

/// Payloads are built here, so that none is allocated.
static PAYLOAD: MainThreadCell<Vec<u8>> = MainThreadCell::new(Vec::new());

/// The effect of a change that is decided now, on this server.
pub fn effect<'a>(
    ctx: &Context<'_>,
    now: crate::core::time::Micros,
    change: RateLimitChange<'a>,
) -> RateLimitEffect<'a> {
    RateLimitEffect { now, expires: !ctx.debug_clock_is_set(), change }
}

/// A command that the server never refuses for memory has to create a key.
///
/// # Errors
/// [`Error::OutOfMemory`] where the server refuses what takes memory.
pub fn grows(ctx: &Context<'_>) -> Result<(), Error> {
    let decided_before = ctx.flags().replicated_or_loading();
    if !decided_before && door::is_out_of_memory(ctx) { Err(Error::OutOfMemory) } else { Ok(()) }
}

/// Applies an effect to the key and propagates it. Returns whether anything
/// changed; where nothing did, nothing is propagated.
///
/// # Errors
/// The key holds another type, or the effect does not fit.
pub fn commit(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &RateLimitEffect<'_>,
    event: &'static CStr,
) -> Result<bool, Error> {
    let fate = apply(ctx, key, effect, event)?;
    if fate == KeyFate::Unchanged {
        return Ok(false);
    }
    if replicate::is_propagated(ctx) {
        let mut payload = PAYLOAD.of(ctx.main()).borrow_mut();
        payload.clear();
        fate.encode(effect, &mut payload);
        replicate::effect(ctx, COMMAND, key.name(), &payload);
    } else {
        replicate::count_only(ctx);
    }
    Ok(true)
}

/// Applies an effect to the key and lets it expire when its state is over.
/// Master and replica both come through here. Returns whether anything changed.
///
/// # Errors
/// As [`commit`].
pub fn apply(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &RateLimitEffect<'_>,
    event: &'static CStr,
) -> Result<KeyFate, Error> {
    let main = ctx.main();
    let replaces = matches!(effect.change, RateLimitChange::Become { .. })
        && !key.is_missing()
        && key.value::<RateLimit>().is_err();
    if replaces {
        key.delete();
    }
    let mut held = key.value_mut::<RateLimit>()?;
    let applied = effect
        .apply(main, held.as_deref_mut())
        .map_err(|corrupt| Error::Other(format!("effect refused: {corrupt}")))?;
    drop(held);
    let mut fate = KeyFate::Changed;
    let lifetime = match applied {
        AppliedRateLimit::Nothing | AppliedRateLimit::Created(_, Lifetime::Over) => {
            if replaces {
                key.emptied(event);
                note_operator(ctx, key, effect);
            }
            return Ok(if replaces { KeyFate::Changed } else { KeyFate::Unchanged });
        }
        AppliedRateLimit::Created(value, lifetime) => {
            key.create(value);
            fate = KeyFate::Created;
            lifetime
        }
        AppliedRateLimit::InPlace(lifetime) => lifetime,
    };
    match lifetime {
        Lifetime::Over => {
            key.delete();
            key.emptied(event);
        }
        lasting => {
            expire(key, lasting, effect.expires);
            key.changed(event);
        }
    }
    note_operator(ctx, key, effect);
    Ok(fate)
}

/// Where an effect may have changed what an operator said of the key, notes what that is
/// now.
#[inline]
fn note_operator(ctx: &Context<'_>, key: &Key<'_>, effect: &RateLimitEffect<'_>) {
    if matches!(
        effect.change,
        RateLimitChange::Pin { .. }
            | RateLimitChange::Unpin
            | RateLimitChange::Block { .. }
            | RateLimitChange::Unblock
            | RateLimitChange::Become { .. }
    ) {
        let held = key.value::<RateLimit>().ok().flatten();
        let (main, now, name) = (ctx.main(), effect.now, (ctx.database(), key.name().bytes()));
        let value = held.as_deref();
        PINNED.set(main, name, value.is_some_and(|value| value.pin(now).is_some()), now);
        BLOCKED.set(main, name, value.is_some_and(|value| value.block(now).is_some()), now);
    }
}

/// What an effect did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFate {
    /// Nothing.
    Unchanged,
    /// There was none, and now there is.
    Created,
    /// It is another than before, or gone.
    Changed,
}

impl KeyFate {
    /// Appends the effect as it travels.
    fn encode(self, effect: &RateLimitEffect<'_>, out: &mut Vec<u8>) {
        if self == Self::Created {
            put_created(out);
        }
        effect.encode(out);
    }
}

/// As [`apply`] for an effect that created its key where it was decided: what is here
/// under this name is gone there.
///
/// # Errors
/// As [`commit`].
pub fn apply_created(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &RateLimitEffect<'_>,
    event: &'static CStr,
) -> Result<KeyFate, Error> {
    if !key.is_missing() {
        key.delete();
    }
    apply(ctx, key, effect, event)
}

/// Lets the key expire when its lifetime is over, or never under the debug clock:
/// the server's own clock must not end the key then.
///
/// Where the change left the end as it was, the expiry is not even looked at, which
/// is a twentieth of a grant's instructions: EXPIRE and PERSIST of a user hold
/// until a grant moves the end.
fn expire(key: &mut Key<'_>, lifetime: Lifetime, expires: bool) {
    let (until, likely_so) = match lifetime {
        Lifetime::Over => return,
        Lifetime::AsBefore(_) if expires => return,
        Lifetime::AsBefore(until) | Lifetime::StillUntil(until) => (until, true),
        Lifetime::Until(until) => (until, !expires),
    };
    let end = if expires { until.end() } else { None };
    // To look costs a third of what it costs to set.
    if !(likely_so && key.expires_at(end)) {
        key.expire_at(end);
    }
}

/// Several effects that travel as one command.
#[derive(Debug)]
pub struct EffectBatch<'a> {
    /// Somebody hears of it.
    heard: bool,
    /// Something changed that nobody hears of.
    count_only: bool,
    keys: Vec<Arg<'a>>,
    ends: Vec<usize>,
    payloads: Vec<u8>,
}

impl<'a> EffectBatch<'a> {
    /// None yet.
    pub fn new(ctx: &Context<'_>) -> Self {
        let heard = replicate::is_propagated(ctx);
        Self { heard, count_only: false, keys: Vec::new(), ends: Vec::new(), payloads: Vec::new() }
    }

    /// Applies an effect now; it is propagated with the others.
    ///
    /// # Errors
    /// As [`commit`].
    pub fn apply(
        &mut self,
        ctx: &Context<'_>,
        key: &mut Key<'a>,
        effect: &RateLimitEffect<'_>,
        event: &'static CStr,
    ) -> Result<(), Error> {
        match apply(ctx, key, effect, event)? {
            KeyFate::Unchanged => {}
            fate => self.add(key.name(), |out| fate.encode(effect, out)),
        }
        Ok(())
    }

    /// Adds an effect on `key` that is applied already and changed something.
    pub fn add(&mut self, key: Arg<'a>, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.heard {
            self.count_only = true;
            return;
        }
        encode(&mut self.payloads);
        self.keys.push(key);
        self.ends.push(self.payloads.len());
    }

    /// Propagates all that changed.
    pub fn propagate(&self, ctx: &Context<'_>) {
        if self.count_only {
            replicate::count_only(ctx);
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let payloads =
            starts.zip(&self.ends).map(|(start, &end)| self.payloads.get(start..end).unwrap_or_default());
        replicate::effects(ctx, COMMAND, self.keys.iter().copied().zip(payloads));
    }
}
