//! The steps of loading the module into a server.

pub mod argument;
pub mod command;
mod command_info;
pub mod entry;
pub mod key_lookup;
mod key_positions;
pub mod library;
pub mod register;
pub mod settings;

use super::context::{self, Context};
use crate::server::ffi::api::{self, call_if_there};
use crate::server::ffi::log;
use crate::server::keys::left_database;
use crate::server::keys::modified;
use crate::server::main_thread;
use redis_module::raw;

/// Checks that the server has every function that a supported server has, and learns which server
/// it is. Call it before anything else.
///
/// # Errors
/// A line for the log that names the first function that the server lacks.
pub fn begin(ctx: &Context<'_>) -> Result<(), String> {
    main_thread::begin_watching();
    if let Some(own) = ctx.detached() {
        // SAFETY: such a context is never freed.
        unsafe { log::begin(own.raw()) };
    }
    if let Some(name) = api::missing() {
        return Err(format!("the server lacks {name}, which Redis 6.2 and later have"));
    }
    if let Some(version) = ctx.server_text(c"server", c"valkey_version") {
        context::runs_on_valkey();
        left_database::runs_on(version.as_bytes());
    }
    declare_options(ctx);
    Ok(())
}

/// The module options to declare. A bit that Valkey defines may mean something else on other
/// servers.
pub fn options(valkey: bool) -> i32 {
    /// Valkey 9: our keys may migrate with their slot.
    const HANDLE_ATOMIC_SLOT_MIGRATION: i32 = 1 << 5;
    let everywhere = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS.cast_signed();
    if valkey { everywhere | HANDLE_ATOMIC_SLOT_MIGRATION } else { everywhere }
}

/// Declares to the server which features the module can cope with.
///
/// Asynchronous loading from a master (`HANDLE_REPL_ASYNC_LOAD`) is not declared. Policies live
/// outside keys, so they would already be the new master's while the old keys still answer. The
/// server answers `-LOADING` meanwhile.
///
/// A save that forks no child, which a coming Valkey offers, must never be declared. Three things
/// rely on the fork. `effects::propagation` learns from forks whether anybody receives changes.
/// `rdb_save` reads values without a lock. And an open key (`keys::key`) needs that nobody else
/// reads or moves its value.
fn declare_options(ctx: &Context<'_>) {
    // SAFETY: takes no arguments.
    let known = unsafe { call_if_there!(RedisModule_GetModuleOptionsAll()) }.unwrap_or(i32::MAX);
    modified::declare_options(ctx, options(context::is_valkey()) & known);
}
