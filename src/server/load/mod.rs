//! The steps of loading the module into a server.

pub mod argument;
pub mod command;
mod command_info;
pub mod entry;
mod register;
pub mod settings;

use super::cluster_bus::{self, Receiver};
use super::context::{self, Context};
use super::events;
use crate::server::effects::propagation;
use crate::server::events::EventListener;
use crate::server::ffi::api::{self, call_if_there};
use crate::server::ffi::args::Args;
use crate::server::ffi::call::ServerReply;
use crate::server::ffi::info::{self, InfoWriter};
use crate::server::ffi::log::{self, LogLevel};
use crate::server::keys::data_type;
use crate::server::keys::data_type::NativeType;
use crate::server::keys::keyspace::{self, KeyspaceChange};
use crate::server::keys::left_database;
use crate::server::keys::modified;
use crate::server::main_thread::{self, MainThread};
use command::Command;
use redis_module::raw;
use settings::Setting;

/// The module while it is being loaded.
#[derive(Debug)]
pub struct Loading<'c> {
    ctx: Context<'c>,
}

/// The module options to declare. A bit that Valkey defines may mean something else on other
/// servers.
fn options(valkey: bool) -> i32 {
    /// Valkey 9: our keys may migrate with their slot.
    const HANDLE_ATOMIC_SLOT_MIGRATION: i32 = 1 << 5;
    let everywhere = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS.cast_signed();
    if valkey { everywhere | HANDLE_ATOMIC_SLOT_MIGRATION } else { everywhere }
}

impl<'c> Loading<'c> {
    /// Makes it from the context that the `redis-module` crate passes to the load function.
    pub fn new(ctx: &'c redis_module::Context) -> Self {
        main_thread::begin_watching();
        // SAFETY: the crate hands out the live context of the load function.
        Self { ctx: unsafe { Context::from_raw(ctx.ctx) } }
    }

    /// The context of the load function.
    pub const fn context(&self) -> &Context<'c> {
        &self.ctx
    }

    /// Checks that the server has every function that a supported server has. Call it before
    /// anything else.
    ///
    /// # Errors
    /// A line for the log that names the first function that the server lacks.
    pub fn required_functions(&self) -> Result<(), String> {
        match api::missing() {
            None => Ok(()),
            Some(name) => Err(format!("the server lacks {name}, which Redis 6.2 and later have")),
        }
    }

    /// Declares to the server which features the module can cope with. Call it after
    /// [`Loading::server`].
    ///
    /// Asynchronous loading from a master (`HANDLE_REPL_ASYNC_LOAD`) is not declared. Policies live
    /// outside keys, so they would already be the new master's while the old keys still answer. The
    /// server answers `-LOADING` meanwhile.
    ///
    /// A save that forks no child, which a coming Valkey offers, must never be declared. Three
    /// things rely on the fork. `effects::propagation` learns from forks whether anybody receives
    /// changes. `rdb_save` reads values without a lock. And an open key (`keys::key`) needs that
    /// nobody else reads or moves its value.
    pub fn options(&self) {
        // SAFETY: takes no arguments.
        let known = unsafe { call_if_there!(RedisModule_GetModuleOptionsAll()) }.unwrap_or(i32::MAX);
        modified::declare_options(&self.ctx, options(context::is_valkey()) & known);
    }

    /// Learns which server this is.
    pub fn server(&self) {
        if let Some(version) = self.ctx.server_text(c"server", c"valkey_version") {
            context::runs_on_valkey();
            left_database::runs_on(version.as_bytes());
        }
    }

    /// Makes every panic leave a line in the server's log. The panic itself is caught where the
    /// server entered the module, on whichever thread.
    pub fn log_panics(&self) {
        std::panic::set_hook(Box::new(|panic| {
            // SAFETY: a null context is allowed on every thread.
            unsafe {
                log::write(
                    std::ptr::null_mut(),
                    LogLevel::Warning,
                    &format!("floodgate: internal error, please report it: {panic}").replace('\n', " "),
                );
            }
        }));
    }

    /// Subscribes to the server's events, also for `listeners`.
    pub fn events(&self, listeners: &'static [&'static [EventListener]]) {
        let all = events::subscribe(&self.ctx, listeners);
        propagation::watched(&self.ctx, all);
    }

    /// Calls `watcher` for what others do to keys.
    pub fn keyspace(&self, watcher: fn(MainThread, KeyspaceChange<'_>)) {
        keyspace::watch(&self.ctx, watcher);
    }

    /// Calls `receiver` for messages from other nodes of the cluster. Returns false if there is no
    /// cluster bus.
    pub fn cluster_bus(&self, receiver: Receiver) -> bool {
        cluster_bus::listen(&self.ctx, receiver)
    }

    /// Registers a native type.
    ///
    /// # Errors
    /// A line for the log, if the server refuses the type.
    pub fn data_type<T: NativeType>(&self) -> Result<(), String> {
        let done = data_type::register::<T>(&self.ctx);
        if done { Ok(()) } else { Err(format!("the server refused the type {}", T::NAME)) }
    }

    /// Registers the commands.
    ///
    /// # Errors
    /// A line for the log that names the command that the server refused.
    pub fn commands(&self, commands: &[Command]) -> Result<(), String> {
        register::commands(&self.ctx, commands)
            .map_err(|name| format!("the server refused the command {name}"))?;
        command::note_registered(commands);
        Ok(())
    }

    /// Reads the module arguments and registers the settings.
    ///
    /// # Errors
    /// A line for the log that names the bad argument and says why.
    pub fn settings(
        &self,
        settings: &'static [Setting],
        args: &[redis_module::RedisString],
    ) -> Result<(), String> {
        let mut raw: Vec<_> =
            std::iter::once(std::ptr::null_mut()).chain(args.iter().map(|arg| arg.inner)).collect();
        let count = std::ffi::c_int::try_from(raw.len()).unwrap_or(0);
        // SAFETY: the strings live as long as `args`; the first stands for the name, which `Args`
        // skips.
        settings::register(&self.ctx, settings, unsafe { Args::from_raw(raw.as_mut_ptr(), count) })
    }

    /// Registers `write` as the function that writes our part of INFO.
    pub fn info(&self, write: fn(&InfoWriter)) {
        info::register(&self.ctx, write);
    }

    /// Whether the server or another module has a command of this name.
    pub fn command_is_taken(&self, name: &str) -> bool {
        let row = |reply: ServerReply<'_>| reply.part(0).is_some_and(ServerReply::is_array);
        self.ctx.ask(c"COMMAND", c"v", &[b"INFO", name.as_bytes()], row).unwrap_or(false)
    }

    /// Logs why the module does not load, and returns the status for the load function.
    pub fn refuse(&self, reason: &str) -> redis_module::Status {
        self.ctx.log(LogLevel::Warning, &format!("floodgate does not load: {reason}"));
        redis_module::Status::Err
    }
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn what_is_valkeys_is_declared_to_valkey_only() {
        assert_eq!(options(false) & 1 << 5, 0);
        assert_eq!(options(true), options(false) | 1 << 5);
    }
}
