//! Events of the server that state outside keys must follow.

use super::api::call;
use super::context::Context;
use redis_module::raw;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// A dataset is being loaded: at the start, from a master, by DEBUG RELOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It begins; nothing has been read yet.
    Begins,
    /// It is complete.
    Ended,
    /// It broke off. The server may go on with the data from before.
    Failed,
}

static ON_LOAD: OnceLock<fn(&Context<'_>, Load)> = OnceLock::new();
static ON_FORK: OnceLock<fn(&Context<'_>)> = OnceLock::new();

unsafe extern "C" fn loading(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    _: *mut c_void,
) {
    let load = match subevent {
        raw::REDISMODULE_SUBEVENT_LOADING_RDB_START
        | raw::REDISMODULE_SUBEVENT_LOADING_AOF_START
        | raw::REDISMODULE_SUBEVENT_LOADING_REPL_START => Load::Begins,
        raw::REDISMODULE_SUBEVENT_LOADING_ENDED => Load::Ended,
        raw::REDISMODULE_SUBEVENT_LOADING_FAILED => Load::Failed,
        _ => return,
    };
    if let Some(run) = ON_LOAD.get() {
        // SAFETY: the server passes a live context, on its main thread.
        let context = unsafe { Context::from_raw(ctx) };
        drop(catch_unwind(AssertUnwindSafe(|| run(&context, load))));
    }
}

unsafe extern "C" fn forked(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    _: *mut c_void,
) {
    if subevent != raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN {
        return;
    }
    if let Some(run) = ON_FORK.get() {
        // SAFETY: the server passes a live context, on its main thread.
        let context = unsafe { Context::from_raw(ctx) };
        drop(catch_unwind(AssertUnwindSafe(|| run(&context))));
    }
}

/// Has `run` called when a dataset is loaded.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(super) unsafe fn on_load(ctx: *mut raw::RedisModuleCtx, run: fn(&Context<'_>, Load)) -> bool {
    let _ = ON_LOAD.set(run);
    // SAFETY: the caller's promise.
    unsafe { subscribe(ctx, raw::REDISMODULE_EVENT_LOADING, loading) }
}

/// Has `run` called in the parent when a child was forked to write an RDB file
/// or to rewrite the AOF.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(super) unsafe fn on_fork(ctx: *mut raw::RedisModuleCtx, run: fn(&Context<'_>)) -> bool {
    let _ = ON_FORK.set(run);
    // SAFETY: the caller's promise.
    unsafe { subscribe(ctx, raw::REDISMODULE_EVENT_FORK_CHILD, forked) }
}

unsafe fn subscribe(
    ctx: *mut raw::RedisModuleCtx,
    id: u64,
    run: unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void),
) -> bool {
    let event = raw::RedisModuleEvent { id, dataver: 1 };
    // SAFETY: the context is live, and the callback stays.
    unsafe { call!(RedisModule_SubscribeToServerEvent(ctx, event, Some(run))) == 0 }
}
