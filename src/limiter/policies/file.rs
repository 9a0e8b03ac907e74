//! The setting `policies-file`: policies that come with the server's configuration.
//!
//! The file is read when the module is loaded, and imported once the data is loaded. It is imported
//! only if it differs from the file that was imported last. So changes by operators survive
//! restarts.

use super::{commit, gossip};
use crate::server::context::Context;
use crate::server::ffi::log::LogLevel;
use crate::server::timing::timer;
use crate::server::write_check;
use crate::settings;
use crate::types::effect::policy::PolicyChange;
use crate::types::policies::file::PoliciesFile;
use crate::types::policies::node;

/// The wait in milliseconds after which the import is tried again, if the server accepts no writes
/// now.
const AGAIN_MS: i64 = 500;

/// Plans the import of the file, if there is one. Timers run only when the data is loaded.
pub fn begin(ctx: &Context<'_>) {
    if settings::policies_file(ctx.main()).is_some() {
        node::keep(ctx.main(), |worth| worth.file = true);
        timer::after(ctx, 0, import);
    }
}

fn import(ctx: &Context<'_>) {
    let Some(file) = settings::policies_file(ctx.main()) else { return };
    if ctx.flags().replicated_or_loading() {
        return timer::after(ctx, AGAIN_MS, import);
    }
    // A replica has the policies of its master.
    let is_new = node::with_policies(ctx.main(), |policies| policies.file() != Some(file.digest));
    if !ctx.flags().master() || !is_new {
        return;
    }
    if !write_check::may_write(ctx) {
        return timer::after(ctx, AGAIN_MS, import);
    }
    let line = match set(ctx, &file) {
        Ok(count) => {
            format!("policies-file '{}' was imported: {count} policies changed", file.path)
        }
        Err(reason) => {
            let line = format!("policies-file '{}' was not imported: {reason}", file.path);
            return ctx.log(LogLevel::Warning, &line);
        }
    };
    ctx.log(LogLevel::Notice, &line);
}

/// Sets the policies of the file, which fit together since they were read. A prefix that another
/// policy has goes to the file's, as to the later of two. Returns the number of policies that
/// changed.
///
/// A server that knows nothing of policies yet may be about to join a cluster, or to come back to
/// one without its data. What operators have changed there stands.
fn set(ctx: &Context<'_>, file: &PoliciesFile) -> Result<usize, String> {
    let entries = node::with_policies(ctx.main(), |policies| {
        let by = if policies.is_blank() {
            commit::given_by_file(ctx, file.changed_s)
        } else {
            commit::changed_by(ctx)
        };
        commit::setting(policies, file.policies.clone(), by)
    });
    let change = PolicyChange { entries, file: Some(file.digest) };
    commit::commit(ctx, &change).map_err(|error| error.to_string())?;
    gossip::broadcast(ctx, &change.entries);
    Ok(change.entries.len())
}
