//! Timers that run a function once, outside the current command or event.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::call;
use redis_module::raw;
use std::ffi::c_void;

/// The function that a timer runs.
type Task = fn(&Context<'_>);

/// Runs `task` once, `ms` milliseconds from now.
pub fn after(ctx: &Context<'_>, ms: i64, task: Task) {
    start(ctx, ms, task);
}

/// The same. Returns the number of the timer.
pub(super) fn start(ctx: &Context<'_>, ms: i64, task: Task) -> u64 {
    // SAFETY: the context is live; a function pointer fits the data pointer.
    unsafe { call!(RedisModule_CreateTimer(ctx.raw(), ms, Some(fire), task as *mut c_void)) }
}

unsafe extern "C" fn fire(ctx: *mut raw::RedisModuleCtx, data: *mut c_void) {
    // SAFETY: `data` is the function that `after` put there; the server passes
    // a live context, on its main thread.
    let (context, task) = unsafe { (Context::from_raw(ctx), std::mem::transmute::<*mut c_void, Task>(data)) };
    boundary::enter(&context, || task(&context));
}
