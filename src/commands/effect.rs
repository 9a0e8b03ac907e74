//! RL.EFFECT: how changes reach replicas and come back from the AOF.

use crate::core::wire::Corrupt;
use crate::limiter::Error;
use crate::limiter::apply::{KeyFate, apply, apply_created};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::{Arg, Args};
use crate::types::effect::breaker as circuit;
use crate::types::effect::ratelimit::{RateLimitEffect, split_created};

/// `RL.EFFECT key payload [key payload …]`, from the master's link or the
/// server's own AOF only.
///
/// # Errors
/// An ordinary client, or a payload that does not fit; the others are applied
/// all the same.
pub fn effect(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !ctx.flags().replicated_or_loading() {
        return Err(Error::Other(
            "RL.EFFECT carries effects to replicas and the AOF; clients cannot use it".to_owned(),
        ));
    }
    if args.is_empty() || !args.len().is_multiple_of(2) {
        return Err(Error::Arity);
    }
    let mut changed = false;
    let mut refused = None;
    for index in (0..args.len()).step_by(2) {
        let (Some(name), Some(payload)) = (args.get(index), args.get(index + 1)) else {
            return Err(Error::Arity);
        };
        match apply_one(ctx, name, payload) {
            Ok(this) => {
                changed |= this;
                metrics::count(ctx.main(), |m| &mut m.effects_applied);
            }
            Err(error) => refused = Some(error),
        }
    }
    // This server's own AOF must follow whatever changed here.
    if changed {
        replicate::verbatim(ctx);
    }
    if let Some(error) = refused {
        return Err(error);
    }
    crate::server::ffi::reply::ok(ctx);
    Ok(())
}

fn apply_one(ctx: &Context<'_>, name: Arg<'_>, payload: Arg<'_>) -> Result<bool, Error> {
    let refused = |corrupt: Corrupt| Error::Other(corrupt.to_string());
    let mut key = ctx.write(name);
    if circuit::is_circuit(payload.bytes()) {
        let effect = circuit::BreakerEffect::decode(ctx.main(), payload.bytes()).map_err(refused)?;
        return Ok(crate::limiter::breaker::apply::apply(ctx, &mut key, &effect, c"rl.effect")?.changed);
    }
    let (created, payload) = split_created(payload.bytes());
    let effect = RateLimitEffect::decode(payload).map_err(refused)?;
    let fate = if created {
        apply_created(ctx, &mut key, &effect, c"rl.effect")?
    } else {
        apply(ctx, &mut key, &effect, c"rl.effect")?
    };
    Ok(fate != KeyFate::Unchanged)
}
