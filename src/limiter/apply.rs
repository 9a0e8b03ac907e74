//! From a decision to the key, the replicas and the AOF.

use crate::limiter::Error;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::Arg;
use crate::server::keys::key::Key;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::types::effect::ratelimit::{AppliedRateLimit, COMMAND, RateLimitChange, RateLimitEffect};
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

/// Applies an effect to the key and propagates it. Returns whether anything
/// changed; where nothing did, nothing is propagated.
///
/// # Errors
/// The key holds another type, or the effect does not fit.
pub fn commit(
    ctx: &Context<'_>,
    key: &mut Key<'_>,
    effect: &RateLimitEffect<'_>,
    event: &CStr,
) -> Result<bool, Error> {
    let changed = apply(ctx, key, effect, event)?;
    if !changed {
        return Ok(false);
    }
    if replicate::is_propagated(ctx) {
        let mut payload = PAYLOAD.of(ctx.main()).borrow_mut();
        payload.clear();
        effect.encode(&mut payload);
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
    event: &CStr,
) -> Result<bool, Error> {
    let main = ctx.main();
    let replaces = matches!(effect.change, RateLimitChange::Become { .. })
        && !key.is_missing()
        && key.value::<RateLimit>().is_err();
    if replaces {
        key.delete();
    }
    let mut held = key.value::<RateLimit>()?;
    let applied = effect
        .apply(main, held.as_deref_mut())
        .map_err(|corrupt| Error::Other(format!("effect refused: {corrupt}")))?;
    drop(held);
    let lifetime = match applied {
        AppliedRateLimit::Nothing | AppliedRateLimit::Created(_, Lifetime::Over) => {
            if replaces {
                key.emptied(event);
            }
            return Ok(replaces);
        }
        AppliedRateLimit::Created(value, lifetime) => {
            key.create(value);
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
            expire(main, key, lasting, effect.expires);
            key.changed(event);
        }
    }
    Ok(true)
}

/// Whether a key was changed under the debug clock: such keys have no expiry until
/// it is looked at again.
static KEYS_WITHOUT_EXPIRY: MainThreadCell<bool> = MainThreadCell::new(false);

/// Lets the key expire when its lifetime is over, or never under the debug clock:
/// the server's own clock must not end the key then.
///
/// Where the change left the end as it was, the expiry is not even looked at, which
/// is a twentieth of a grant's instructions: EXPIRE and PERSIST of a user hold
/// until a grant moves the end.
fn expire(main: MainThread, key: &mut Key<'_>, lifetime: Lifetime, expires: bool) {
    let mut keys_without_expiry = KEYS_WITHOUT_EXPIRY.of(main).borrow_mut();
    *keys_without_expiry |= !expires;
    let (until, likely_so) = match lifetime {
        Lifetime::Over => return,
        Lifetime::AsBefore(_) if !*keys_without_expiry => return,
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
        event: &CStr,
    ) -> Result<(), Error> {
        if apply(ctx, key, effect, event)? {
            self.add(key.name(), |out| effect.encode(out));
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
