//! RL.EFFECT: applies effects on replicas and from the AOF.

use crate::limiter::Error;
use crate::limiter::apply::{KeyEffect as _, KeyFate, refused};
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::{Arg, Args};
use crate::types::effect::breaker::BreakerEffect;
use crate::types::effect::header;
use crate::types::effect::ratelimit::RateLimitEffect;

/// `RL.EFFECT key payload [key payload …]` is accepted only from the master and from the server's
/// own AOF.
///
/// # Errors
/// The sender is an ordinary client, or a payload does not fit. All other payloads are applied.
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
    let payloads = args.iter().skip(1).step_by(2);
    for (name, payload) in args.iter().step_by(2).zip(payloads) {
        match apply_one(ctx, name, payload) {
            Ok(this) => {
                changed |= this;
                metrics::count(ctx.main(), |m| &mut m.effects_applied);
            }
            Err(error) => refused = Some(error),
        }
    }
    // This server's own AOF must follow every change here.
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
    let (mut key, payload) = (ctx.write(name), payload.bytes());
    if header::is_circuit(payload) {
        let effect = BreakerEffect::decode(ctx.main(), payload).map_err(refused)?;
        return Ok(effect.apply_to(ctx, &mut key, c"rl.effect")?.changed);
    }
    let (created, payload) = header::split_created(payload);
    let effect = RateLimitEffect::decode(payload).map_err(refused)?;
    // The key that the effect created here, too, no longer existed on the master.
    if created && !key.is_missing() {
        key.delete();
    }
    Ok(effect.apply_to(ctx, &mut key, c"rl.effect")? != KeyFate::Unchanged)
}
