//! Commands by which operators change one breaker: FORCE, RESET, PIN, UNPIN.

use crate::commands::arguments::{FOR, KEY, ONLY_FOR, REASON, length, optional_for, reason_of};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::{Options, flags};
use crate::core::breaker::{Force, REASON_BYTES};
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::limiter::apply::{commit, grows};
use crate::limiter::breaker::resolve::{CircuitKey, ResolvedBreaker};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::server::load::argument::Argument;
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::{BreakerPin, CbCircuit};
use crate::types::effect::breaker::{BreakerChange, PinBreaker, SetForce};
use std::ffi::CStr;

const FORCES: [(&str, Force); 3] = [("OPEN", Force::Open), ("CLOSED", Force::Closed), ("AUTO", Force::Auto)];
/// `key OPEN|CLOSED|AUTO [FOR d] [REASON text]` of CB.FORCE.
pub const FORCE: &[Argument] =
    &[KEY, Argument::one_of("state", const { &flags(&FORCES) }), FOR.optional(), REASON];
const OPTIONS: Options = Options::of(FORCE);

/// `CB.FORCE key OPEN|CLOSED|AUTO [FOR d] [REASON text]`. AUTO ends a force, so it takes no
/// options.
///
/// # Errors
/// Malformed arguments, no breaker, or a key of another type.
pub fn force(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let force = cursor.choice(&FORCES)?;
    let now = ctx.now();
    let (mut lasts_us, mut reason): (_, &[u8]) = (None, &[]);
    if force == Force::Auto
        && let Some(option) = cursor.peek().filter(|next| OPTIONS.is_keyword(*next))
    {
        return Err(Error::near(option.bytes(), "AUTO ends a force and takes no options"));
    }
    while let Some((option, value)) = cursor.option(&OPTIONS)? {
        match option {
            "FOR" => lasts_us = Some(length(value)?),
            "REASON" => reason = reason_of(value, REASON_BYTES)?,
            _ => return Err(hints::not_taken(option)),
        }
    }
    if force != Force::Auto {
        grows(ctx)?;
    }
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let resolved = CircuitKey::of(ctx.main(), name.bytes(), held.as_deref(), now).resolve_without_call();
    let resolved = resolved.filter(|resolved| !(resolved.missing && force == Force::Auto));
    match resolved {
        Some(resolved) => {
            let effect = resolved.effect(
                ctx,
                held.as_deref(),
                now,
                BreakerChange::Force(SetForce { force, lasts_us, reason }),
            );
            commit(ctx, &mut key, &effect, c"cb.force")?;
        }
        None if force == Force::Auto => {}
        None => return Err(Error::NoBreaker),
    }
    reply::ok(ctx);
    Ok(())
}

/// `CB.RESET key`: closes the circuit, empties its window and ends its force. The pin stays.
/// Replies 1 if there was a circuit, else 0.
///
/// # Errors
/// A key of another type.
pub fn reset(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let there = lift(ctx, args, BreakerChange::Reset, c"cb.reset", |value, found, now| {
        if value.is_over(now) { None } else { found.resolve_without_call() }
    })?;
    metrics::add(ctx.main(), |m| &mut m.breaker_resets, there.into());
    Ok(())
}

/// `CB.PIN key breaker [FOR d]`: fixes the breaker of a key, for the duration or until CB.UNPIN.
///
/// # Errors
/// A malformed breaker or a key of another type.
pub fn pin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    let name = cursor.required()?;
    let given = cursor.required_before(&ONLY_FOR, "breaker")?;
    let rule = rules::find(ctx.main(), given.bytes())?;
    let now = ctx.now();
    let until = optional_for(&mut cursor, now)?;
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let live = held.as_deref().filter(|value| !value.is_forgotten(now));
    let is_so = |pin: &BreakerPin| pin.rule == rule && pin.validity.stays(until, now);
    if !live.and_then(|value| value.pin(now)).is_some_and(is_so) {
        let resolved = ResolvedBreaker::pinned(live, &rule);
        let effect = resolved.effect(ctx, live, now, BreakerChange::Pin(PinBreaker { rule, until }));
        commit(ctx, &mut key, &effect, c"cb.pin")?;
    }
    reply::ok(ctx);
    Ok(())
}

/// `CB.UNPIN key`: replies 1 if there was a pin, else 0.
///
/// # Errors
/// A key of another type.
pub fn unpin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    lift(ctx, args, BreakerChange::Unpin, c"cb.unpin", |value, found, now| {
        value.pin(now).map(|_| found.resolve_unpinned())
    })?;
    Ok(())
}

/// Makes the change under the breaker that `find` finds, and replies whether it found one.
fn lift(
    ctx: &Context<'_>,
    args: Args<'_>,
    change: BreakerChange<'_>,
    event: &'static CStr,
    find: impl FnOnce(&CbCircuit, CircuitKey<'_>, Micros) -> Option<ResolvedBreaker>,
) -> Result<bool, Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let found = CircuitKey::of(ctx.main(), name.bytes(), held.as_deref(), now);
    let resolved = held.as_deref().and_then(|value| find(value, found, now));
    let stood = resolved.is_some();
    if let Some(resolved) = resolved {
        let effect = resolved.effect(ctx, held.as_deref(), now, change);
        commit(ctx, &mut key, &effect, event)?;
    }
    reply::integer(ctx, stood.into());
    Ok(stood)
}
