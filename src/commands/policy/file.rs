//! The setting `policies-file`: policies that come with the server's configuration.
//!
//! The file was read when the module was loaded. It is imported once the data is there,
//! and only where it is another than the one imported last: what operators changed since
//! stays through restarts.

use super::{commit, difference, spread};
use crate::server::context::Context;
use crate::server::door;
use crate::server::ffi::log::LogLevel;
use crate::server::load::Loading;
use crate::server::timing::timer;
use crate::settings::{self, PoliciesFile};
use crate::types::effect::policy::PolicyChange;
use crate::types::policies::node;

/// How long to wait where the server would take no client's write, in milliseconds.
const AGAIN_MS: i64 = 500;

/// Has the file imported, where there is one. Timers run only when data is loaded.
pub fn begin(loading: &Loading<'_>) {
    if settings::policies_file(loading.context().main()).is_some() {
        node::keep(loading.context().main(), |worth| worth.file = true);
        timer::after(loading.context(), 0, import);
    }
}

fn import(ctx: &Context<'_>) {
    let Some(file) = settings::policies_file(ctx.main()) else { return };
    if ctx.flags().replicated_or_loading() {
        return timer::after(ctx, AGAIN_MS, import);
    }
    // A replica has what its master has.
    let is_new = node::look(ctx.main(), |policies| policies.file() != Some(file.digest));
    if !ctx.flags().master() || !is_new {
        return;
    }
    if !door::is_open(ctx) {
        return timer::after(ctx, AGAIN_MS, import);
    }
    let line = match set(ctx, &file) {
        Ok(count) => {
            format!("floodgate: policies-file '{}' was imported: {count} policies changed", file.path)
        }
        Err(reason) => {
            let line = format!("floodgate: policies-file '{}' was not imported: {reason}", file.path);
            return ctx.log(LogLevel::Warning, &line);
        }
    };
    ctx.log(LogLevel::Notice, &line);
}

/// Sets what the file has; gives how many policies that changed.
fn set(ctx: &Context<'_>, file: &PoliciesFile) -> Result<usize, String> {
    let wanted = node::look(ctx.main(), |policies| {
        policies.check(&file.policies).map_err(|(at, refused)| {
            let name = file.policies.get(at).map(|policy| policy.name.to_string());
            format!("policy '{}': {refused}", name.unwrap_or_default())
        })?;
        Ok::<_, String>(difference::others(policies, file.policies.clone()))
    })?;
    let change = PolicyChange { entries: commit::setting(ctx, wanted), file: Some(file.digest) };
    commit::commit(ctx, &change).map_err(|error| error.to_string())?;
    spread::tell(ctx, &change.entries);
    Ok(change.entries.len())
}
