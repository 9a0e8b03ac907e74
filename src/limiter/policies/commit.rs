//! Makes changes of the policies on this server, whoever asked for them.

use crate::core::policies::{ChangedBy, Policies, Policy, PolicyEntry};
use crate::limiter::Error;
use crate::server::cluster_bus;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::settings;
use crate::types::effect::policy::{COMMAND, PolicyChange};
use crate::types::policies::node;

/// The author of changes that clients make here.
pub fn changed_by(ctx: &Context<'_>) -> ChangedBy {
    let now_ms = u64::try_from(ctx.wall_millis()).unwrap_or(0);
    cluster_bus::own_id(ctx).map_or(ChangedBy::Alone, |id| ChangedBy::Node { id, now_ms })
}

/// The author of the policies that this server has from its own file only, which was changed at
/// `changed_s`, in seconds. In a cluster the file that was changed last is the latest of all files.
/// Counted in seconds, it is older than every change by an operator, which is counted in milliseconds.
pub fn given_by_file(ctx: &Context<'_>, changed_s: u64) -> ChangedBy {
    match changed_by(ctx) {
        ChangedBy::Node { id, now_ms } => ChangedBy::Node { id, now_ms: changed_s.min(now_ms / 1000) },
        ChangedBy::Alone => ChangedBy::Alone,
    }
}

/// The changes that set those of the `wanted` policies that differ from the table's. A policy counts as
/// different if a later policy has its prefix.
pub fn setting(table: &Policies, mut wanted: Vec<Policy>, by: ChangedBy) -> Vec<PolicyEntry> {
    wanted.retain(|policy| {
        let there = table.get(&policy.name);
        there != Some(policy) || there.is_some_and(|there| table.prefix_of(there) != policy.prefix.as_deref())
    });
    table.to_set(wanted, by)
}

/// Applies a change that was checked, and propagates it as one effect.
///
/// # Errors
/// The change does not fit after all.
pub fn commit(ctx: &Context<'_>, change: &PolicyChange) -> Result<(), Error> {
    let payload = node::change(ctx.main(), change)
        .map_err(|corrupt| Error::Other(format!("effect refused: {corrupt}")))?;
    replicate::command(ctx, COMMAND, &[&payload]);
    settings::limits_changed(ctx.main());
    Ok(())
}
