//! The function through which every call of a command enters.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::load::command::{self, Command, Keys};
use crate::server::load::key_positions::positions;
use crate::server::timing::command_timing;
use redis_module::raw;
use std::ffi::c_int;

/// An error of a command, and how the client gets to see it.
pub trait CommandError {
    /// Sends the error. `command` is the row of the table; `None` if the command was renamed.
    fn send(&self, ctx: &Context<'_>, command: Option<&Command>);
}

/// Makes the [`CommandEntry`] of a command from its safe function. With `keys`, it also answers the
/// server that asks where the keys of a call are.
macro_rules! entry {
    ($run:path $(, $keys:expr)?) => {{
        extern "C" fn entry(
            ctx: *mut ::redis_module::raw::RedisModuleCtx,
            argv: *mut *mut ::redis_module::raw::RedisModuleString,
            argc: ::std::ffi::c_int,
        ) -> ::std::ffi::c_int {
            $(
                if $crate::server::load::entry::tell_keys(ctx, argv, argc, $keys)
                    || $crate::server::load::key_lookup::refuses(ctx, argv, argc, $keys)
                {
                    return 0;
                }
            )?
            $crate::server::load::entry::enter(ctx, argv, argc, $run)
        }
        entry as $crate::server::load::command::CommandEntry
    }};
}
pub(crate) use entry;

/// Runs one call. Only functions that `entry!` made use it, with what the server gave them.
#[doc(hidden)]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `entry!` uses it, see above
pub fn enter<E: CommandError>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    run: impl FnOnce(&Context<'_>, Args<'_>) -> Result<(), E>,
) -> c_int {
    // SAFETY: the server passes a live context and live arguments, on its main thread, for the
    // duration of this call.
    let (context, args) = unsafe { (Context::from_raw(ctx), Args::from_raw(argv, argc)) };
    let started = command_timing::start(context.main());
    let done = boundary::enter(&context, || {
        let outcome = run(&context, args);
        // SAFETY: the first argument is the command's name, as live as the others.
        command_timing::stop(context.main(), started, || unsafe { Arg::from_raw(*argv) }.bytes());
        if let Err(refusal) = outcome {
            // SAFETY: as above.
            let name = unsafe { Arg::from_raw(*argv) };
            refusal.send(&context, command::registered().iter().find(|command| name.is(command.name)));
        }
    });
    if done.is_none() {
        reply::error(&context, "ERR internal error in floodgate; please report it");
    }
    constant(raw::REDISMODULE_OK)
}

/// Answers a question of the server for the positions of the keys, which it asks where it reads no key
/// specifications or only incomplete ones. Returns false if it did not ask.
#[doc(hidden)]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `entry!` uses it
pub fn tell_keys(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    keys: Keys,
) -> bool {
    // SAFETY: the context is live.
    if unsafe { call!(RedisModule_IsKeysPositionRequest(ctx)) } == 0 {
        return false;
    }
    // SAFETY: the server passes live arguments.
    let args = unsafe { Args::from_raw(argv, argc) };
    // After a panic there are no positions, and the server refuses the command.
    for position in positions(args, keys) {
        // SAFETY: the context is live and is a request for positions.
        unsafe { call!(RedisModule_KeyAtPos(ctx, c_int::try_from(position).unwrap_or(c_int::MAX))) }
    }
    true
}
