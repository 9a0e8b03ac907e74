//! Doing something a little later, outside the command or event at hand.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there};
use redis_module::raw;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is run.
type Task = fn(&Context<'_>);

/// Has `task` run once, `ms` milliseconds from now.
pub fn after(ctx: &Context<'_>, ms: i64, task: Task) {
    // SAFETY: the context is live; a function pointer fits the data pointer.
    unsafe {
        call!(RedisModule_CreateTimer(ctx.raw(), ms, Some(fire), task as *mut c_void));
    }
}

/// True while nothing may be propagated (CLIENT PAUSE, a failover under way).
pub fn must_not_propagate() -> bool {
    // SAFETY: takes no arguments.
    unsafe { call_if_there!(RedisModule_AvoidReplicaTraffic()) }.is_some_and(|avoid| avoid != 0)
}

unsafe extern "C" fn fire(ctx: *mut raw::RedisModuleCtx, data: *mut c_void) {
    // SAFETY: `data` is the function that `after` put there; the server passes
    // a live context, on its main thread.
    let (context, task) = unsafe { (Context::from_raw(ctx), std::mem::transmute::<*mut c_void, Task>(data)) };
    drop(catch_unwind(AssertUnwindSafe(|| task(&context))));
}
