//! RL.EFFECT: how changes reach replicas and come back from the AOF.

use super::Error;
use super::commit::apply;
use crate::observe::metrics;
use crate::server::args::Args;
use crate::server::context::Context;
use crate::server::replicate;
use crate::types::effect::Effect;

/// `RL.EFFECT key payload [key payload …]`, from the master's link or the
/// server's own AOF only.
///
/// # Errors
/// An ordinary client, or a payload that does not fit.
pub fn effect(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !ctx.flags().replicated_or_loading() {
        return Err(Error::Other(
            "RL.EFFECT carries effects to replicas and the AOF; clients cannot use it".to_owned(),
        ));
    }
    if args.is_empty() || !args.len().is_multiple_of(2) {
        return Err(Error::Arity);
    }
    for index in (0..args.len()).step_by(2) {
        let (Some(name), Some(payload)) = (args.get(index), args.get(index + 1)) else {
            return Err(Error::Arity);
        };
        let effect = Effect::decode(payload.bytes()).map_err(|corrupt| Error::Other(corrupt.to_string()))?;
        apply(ctx, &mut ctx.write(name), &effect, c"rl.effect")?;
        metrics::count(ctx.main(), |m| &mut m.effects_applied);
    }
    replicate::verbatim(ctx);
    crate::server::reply::ok(ctx);
    Ok(())
}
