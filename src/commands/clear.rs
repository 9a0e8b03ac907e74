//! RL.CLEAR: deletes the keys of limiters and breakers, walking the keyspace as SCAN does.

use crate::commands::arguments::scan;
use crate::core::time::Micros;
use crate::limiter::Error;
use crate::observe::metrics;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::Args;
use crate::server::ffi::call::{self, OwnedString};
use crate::server::ffi::reply;
use crate::server::keys::key::ReadKey;
use crate::types::cbcircuit::CbCircuit;
use crate::types::ratelimit::RateLimit;

/// `RL.CLEAR cursor [MATCH glob] [COUNT n]` replies `[next cursor, deleted]`. Pinned, blocked and
/// forced keys stay, and so do keys that the user may not change.
///
/// # Errors
/// Malformed arguments, or an error of SCAN.
pub fn clear(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let now = ctx.now();
    let found = scan(ctx, args)?;
    let mut deleted: Vec<&[u8]> = Vec::new();
    let strings: Vec<_> = found.keys.iter().map(|name| OwnedString::new(ctx, name)).collect();
    // Only a look tells whose a key is: opening it for writing would count as a use of it.
    let ours = |string: &OwnedString<'_>| {
        call::user_may_change(ctx, string.arg()) && clears(&ctx.look(string.arg()), now)
    };
    let going: Vec<_> = found.keys.iter().zip(&strings).filter(|(_, string)| ours(string)).collect();
    ctx.settle_keys(going.iter().map(|(_, string)| string.arg()));
    for (name, string) in going {
        let mut key = ctx.write(string.arg());
        // Another module may have changed it since.
        if clears(&key, now) {
            key.delete();
            key.emptied(c"rl.clear");
            deleted.push(name);
        }
    }
    // In a cluster each key has a slot of its own, and a slot that moves takes its own commands along.
    let at_once = if ctx.flags().cluster() { 1 } else { deleted.len().max(1) };
    for keys in deleted.chunks(at_once) {
        replicate::command(ctx, c"DEL", keys);
    }
    let count = deleted.len() as u64;
    metrics::add(ctx.main(), |m| &mut m.cleared, count);
    reply::array(ctx, &[&found.cursor, &count]);
    Ok(())
}

/// True if the key is ours and no operator set anything on it.
fn clears(key: &ReadKey<'_>, now: Micros) -> bool {
    if let Ok(Some(value)) = key.value::<RateLimit>() {
        return value.pin(now).is_none() && value.block(now).is_none();
    }
    match key.value::<CbCircuit>() {
        Ok(Some(value)) => value.pin(now).is_none() && !value.is_forced(now),
        _ => false,
    }
}
