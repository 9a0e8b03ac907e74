//! What happens when the server loads the module.

pub mod command;
pub mod settings;

use super::cluster_bus::{self, Receiver};
use super::context::{self, Context};
use super::events;
use crate::server::effects::propagation;
use crate::server::events::EventListener;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Args;
use crate::server::ffi::info::{self, InfoWriter};
use crate::server::ffi::log::{self, LogLevel};
use crate::server::keys::data_type;
use crate::server::keys::data_type::NativeType;
use crate::server::keys::keyspace::{self, KeyspaceChange};
use crate::server::keys::left_database;
use crate::server::main_thread::{self, MainThread};
use command::Command;
use redis_module::raw;
use settings::Setting;
use std::ffi::CStr;

/// The module while it is being loaded.
#[derive(Debug)]
pub struct Loading<'c> {
    ctx: Context<'c>,
}

/// The options to declare. A bit of Valkey's may mean something else elsewhere.
fn options(valkey: bool) -> i32 {
    /// Valkey 9: keys of ours may move with their slot.
    const HANDLE_ATOMIC_SLOT_MIGRATION: i32 = 1 << 5;
    let everywhere = (raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED)
        .cast_signed();
    if valkey { everywhere | HANDLE_ATOMIC_SLOT_MIGRATION } else { everywhere }
}

impl<'c> Loading<'c> {
    /// From the crate's context of the load function.
    pub fn new(ctx: &'c redis_module::Context) -> Self {
        main_thread::begin_watching();
        // SAFETY: the crate hands out the live context of the load function.
        Self { ctx: unsafe { Context::from_raw(ctx.ctx) } }
    }

    /// The context.
    pub const fn context(&self) -> &Context<'c> {
        &self.ctx
    }

    /// Tells the server what the module can cope with. Not with asynchronous
    /// loading from a master (`HANDLE_REPL_ASYNC_LOAD`): policies live outside
    /// keys, and would be the new master's while the old keys still answer. So
    /// the server answers -LOADING meanwhile.
    ///
    /// Nor, ever, with a save that forks no child, as a coming Valkey offers: whether
    /// anybody is told of changes (`effects::propagation`) is learnt from forks,
    /// `rdb_save` reads values without a lock, and an open key (`keys::key`) counts on
    /// nobody else reading or moving its value.
    ///
    /// Call after [`Loading::server`].
    pub fn options(&self) {
        // SAFETY: the context is live.
        unsafe {
            let known = call_if_there!(RedisModule_GetModuleOptionsAll()).unwrap_or(i32::MAX);
            call_if_there!(RedisModule_SetModuleOptions(
                self.ctx.raw(),
                options(context::is_valkey()) & known
            ));
        }
    }

    /// Learns what kind of server this is.
    pub fn server(&self) {
        // SAFETY: the context is live; what was asked for is freed.
        unsafe {
            let Some(info) = call_if_there!(RedisModule_GetServerInfo(self.ctx.raw(), c"server".as_ptr()))
            else {
                return;
            };
            let version = call_if_there!(RedisModule_ServerInfoGetFieldC(info, c"valkey_version".as_ptr()));
            if let Some(version) = version.filter(|version| !version.is_null()) {
                context::runs_on_valkey();
                left_database::runs_on(CStr::from_ptr(version).to_bytes());
            }
            call_if_there!(RedisModule_FreeServerInfo(self.ctx.raw(), info));
        }
    }

    /// Has every panic leave a line in the server's log. It is caught where the server
    /// entered the module, on whatever thread.
    pub fn log_panics(&self) {
        std::panic::set_hook(Box::new(|panic| {
            // SAFETY: a null context is allowed, on every thread.
            unsafe {
                log::write(
                    std::ptr::null_mut(),
                    LogLevel::Warning,
                    &format!("floodgate: internal error, please report it: {panic}").replace('\n', " "),
                );
            }
        }));
    }

    /// Asks the server to tell of its events, `listeners` too.
    pub fn events(&self, listeners: &'static [&'static [EventListener]]) {
        // SAFETY: the context is the load function's.
        let all = unsafe { events::subscribe(self.ctx.raw(), listeners) };
        propagation::watched(&self.ctx, all);
    }

    /// Has `watcher` hear of what others do to keys.
    pub fn keyspace(&self, watcher: fn(MainThread, KeyspaceChange<'_>)) {
        keyspace::watch(&self.ctx, watcher);
    }

    /// Has `receiver` told of messages from other nodes of the cluster. False where
    /// there is no cluster bus.
    pub fn cluster_bus(&self, receiver: Receiver) -> bool {
        cluster_bus::listen(&self.ctx, receiver)
    }

    /// Registers a native type.
    ///
    /// # Errors
    /// A line for the log.
    pub fn data_type<T: NativeType>(&self) -> Result<(), String> {
        // SAFETY: the context is the load function's.
        let done = unsafe { data_type::register::<T>(self.ctx.raw()) };
        if done { Ok(()) } else { Err(format!("the server refused the type {}", T::NAME)) }
    }

    /// Registers the commands.
    ///
    /// # Errors
    /// A line for the log.
    pub fn commands(&self, commands: &[Command]) -> Result<(), String> {
        // SAFETY: the context is the load function's.
        unsafe { command::register(self.ctx.raw(), commands) }
            .map_err(|name| format!("the server refused the command {name}"))?;
        command::note_registered(commands);
        Ok(())
    }

    /// Takes the module arguments over and registers the settings.
    ///
    /// # Errors
    /// A line for the log.
    pub fn settings(
        &self,
        settings: &'static [Setting],
        args: &[redis_module::RedisString],
    ) -> Result<(), String> {
        let mut raw: Vec<_> =
            std::iter::once(std::ptr::null_mut()).chain(args.iter().map(|arg| arg.inner)).collect();
        let count = std::ffi::c_int::try_from(raw.len()).unwrap_or(0);
        // SAFETY: the strings live as long as `args`; the first stands for the
        // name, which `Args` skips. The context is the load function's.
        unsafe {
            let args = Args::from_raw(raw.as_mut_ptr(), count);
            settings::register(self.ctx.raw(), self.ctx.main(), settings, args)
        }
    }

    /// Has `write` called for INFO.
    pub fn info(&self, write: fn(&InfoWriter)) {
        // SAFETY: the context is the load function's.
        unsafe { info::register(self.ctx.raw(), write) }
    }

    /// Whether another module (or the server) has a command of this name.
    pub fn command_is_taken(&self, name: &str) -> bool {
        let Ok(name) = std::ffi::CString::new(name) else { return false };
        // SAFETY: the context is live; the reply is freed.
        unsafe {
            let reply = call!(RedisModule_Call(
                self.ctx.raw(),
                c"COMMAND".as_ptr(),
                c"cc".as_ptr(),
                c"INFO".as_ptr(),
                name.as_ptr()
            ));
            if reply.is_null() {
                return false;
            }
            let row = call!(RedisModule_CallReplyArrayElement(reply, 0));
            let taken = !row.is_null()
                && call!(RedisModule_CallReplyType(row)) == constant(raw::REDISMODULE_REPLY_ARRAY);
            call!(RedisModule_FreeCallReply(reply));
            taken
        }
    }

    /// Says in the log why the module does not load.
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
