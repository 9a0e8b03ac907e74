//! The function of the library that the server calls to load the module.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::constant;
use crate::server::ffi::log::{self, LogLevel};
use redis_module::{RedisString, raw};
use std::ffi::{CStr, c_int};

/// Exports the function that loads the module. The crate `redis-module` has such a macro, too: it says
/// nothing where the name of the module is taken.
macro_rules! library {
    (name: $name:expr, version: $version:expr, load: $load:path) => {
        #[allow(missing_docs, non_snake_case)] // the name that the server looks for
        #[unsafe(no_mangle)]
        pub extern "C" fn RedisModule_OnLoad(
            ctx: *mut ::redis_module::raw::RedisModuleCtx,
            argv: *mut *mut ::redis_module::raw::RedisModuleString,
            argc: ::std::ffi::c_int,
        ) -> ::std::ffi::c_int {
            $crate::server::load::library::enter(ctx, argv, argc, $name, $version, $load)
        }
    };
}
pub(crate) use library;

/// Learns the functions of the API, gives the module its name, and runs `load`. Only the function that
/// `library!` made uses it, with what the server gave it.
#[doc(hidden)]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `library!` uses it, see above
pub fn enter(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    name: &CStr,
    version: c_int,
    load: impl FnOnce(&Context<'_>, &[RedisString]) -> Result<(), String>,
) -> c_int {
    // SAFETY: the server passes a live context, and copies the name.
    let begun = unsafe {
        raw::Export_RedisModule_Init(ctx, name.as_ptr(), version, raw::REDISMODULE_APIVER_1.cast_signed())
    };
    // SAFETY: the context is live for the duration of this call, on the main thread.
    let context = unsafe { Context::from_raw(ctx) };
    let loaded = if begun == constant(raw::REDISMODULE_OK) {
        log_panics();
        boundary::guard(|| load(&context, &redis_module::decode_args(ctx, argv, argc)))
            .unwrap_or_else(|| Err("an internal error, see the line above".to_owned()))
            .inspect_err(|_| log::ends())
    } else {
        // The server refuses nothing but a name that is taken. What is loaded may be this very library,
        // with its state.
        let name = name.to_string_lossy();
        Err(format!("a module named {name} is loaded already: is there a second loadmodule line?"))
    };
    match loaded {
        Ok(()) => constant(raw::REDISMODULE_OK),
        Err(reason) => {
            context.log(LogLevel::Warning, &format!("floodgate does not load: {reason}"));
            constant(raw::REDISMODULE_ERR)
        }
    }
}

/// Makes every panic leave a line in the server's log. The panic itself is caught where the server
/// entered the module, on whichever thread.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = format!("internal error, please report it: {panic}");
        log::line(LogLevel::Warning, &text.replace('\n', " "));
    }));
}
