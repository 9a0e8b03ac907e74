//! What operators do to one breaker: FORCE, RESET, PIN, UNPIN.

use crate::commands::arguments::{ArgCursor, length, optional_for};
use crate::commands::way_out;
use crate::core::breaker::{Force, REASON_BYTES};
use crate::limiter::Error;
use crate::limiter::breaker::apply::{after, commit};
use crate::limiter::breaker::resolve::{ResolvedBreaker, resolve_standing, resolve_unpinned};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::ffi::args::Args;
use crate::server::ffi::reply;
use crate::types::cbcircuit::rules;
use crate::types::cbcircuit::{BreakerPin, CbCircuit};
use crate::types::effect::breaker::BreakerChange;

/// `CB.FORCE key OPEN|CLOSED|AUTO [FOR d] [REASON text]`. AUTO ends a force, so
/// it takes neither.
///
/// # Errors
/// Malformed arguments, no breaker at all, or a key of another type.
pub fn force(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let how = walk.required()?;
    let force = if how.is("OPEN") {
        Force::Open
    } else if how.is("CLOSED") {
        Force::Closed
    } else if how.is("AUTO") {
        Force::Auto
    } else {
        return Err(way_out::none_of(how, "OPEN, CLOSED or AUTO"));
    };
    let now = ctx.now();
    let (mut until, mut reason): (_, &[u8]) = (None, &[]);
    while let Some(option) = walk.option(&["FOR", "REASON"])? {
        if force == Force::Auto {
            return Err(Error::near(option.as_bytes(), "AUTO ends a force and takes no options"));
        }
        let value = walk.value_of(option)?;
        match option {
            "FOR" => until = Some(after(now, length(value)?)),
            _ => reason = value.bytes(),
        }
    }
    if reason.len() > REASON_BYTES {
        return Err(Error::Range { name: "REASON", expected: format!("at most {REASON_BYTES} bytes") });
    }
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let resolved = resolve_standing(ctx.main(), name.bytes(), held.as_deref(), now);
    let resolved = resolved.filter(|resolved| !(resolved.missing && force == Force::Auto));
    match resolved {
        Some(resolved) => {
            let effect = resolved.effect(ctx, now, BreakerChange::Force { force, until, reason });
            commit(ctx, &mut key, &effect, c"cb.force")?;
        }
        None if force == Force::Auto => {}
        None => return Err(Error::NoBreaker),
    }
    reply::ok(ctx);
    Ok(())
}

/// `CB.RESET key`: closed, with an empty window, the force ended, the pin kept.
/// 1 when there was a breaker.
///
/// # Errors
/// A key of another type.
pub fn reset(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let there = held.as_deref().is_some_and(|value| !value.is_over(now));
    let resolved = resolve_standing(ctx.main(), name.bytes(), held.as_deref(), now);
    if there {
        let effect = resolved.unwrap_or_else(ResolvedBreaker::own).effect(ctx, now, BreakerChange::Reset);
        commit(ctx, &mut key, &effect, c"cb.reset")?;
        metrics::count(ctx.main(), |m| &mut m.breaker_resets);
    }
    reply::integer(ctx, there.into());
    Ok(())
}

/// `CB.PIN key breaker [FOR d]`
///
/// # Errors
/// A malformed breaker or a key of another type.
pub fn pin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let name = walk.required()?;
    let rule = rules::find(ctx.main(), walk.required()?.bytes())?;
    let now = ctx.now();
    let until = optional_for(&mut walk, now)?;
    walk.end()?;
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let live = held.as_deref().filter(|value| !value.is_over(now));
    let resolved = ResolvedBreaker::pinned(live, &rule);
    let effect = resolved.effect(ctx, now, BreakerChange::Pin(BreakerPin { rule, began: now, until }));
    commit(ctx, &mut key, &effect, c"cb.pin")?;
    reply::ok(ctx);
    Ok(())
}

/// `CB.UNPIN key`: 1 when there was a pin.
///
/// # Errors
/// A key of another type.
pub fn unpin(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let name = ArgCursor::only_key(args)?;
    let now = ctx.now();
    let mut key = ctx.write(name);
    let held = key.value::<CbCircuit>()?;
    let pinned = held.as_deref().filter(|value| value.pin(now).is_some());
    let resolved = pinned
        .map(|value| resolve_unpinned(ctx.main(), name.bytes(), value).unwrap_or_else(ResolvedBreaker::own));
    let stood = resolved.is_some();
    if let Some(resolved) = resolved {
        commit(ctx, &mut key, &resolved.effect(ctx, now, BreakerChange::Unpin), c"cb.unpin")?;
    }
    reply::integer(ctx, stood.into());
    Ok(())
}
