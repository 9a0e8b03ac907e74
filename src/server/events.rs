//! The server's events, and the lists of functions that listen to them.

use super::context::Context;
use crate::server::ffi::api::call_if_there;
use crate::server::timing::{cron_lag, timer};
use crate::server::{boundary, other_modules};
use redis_module::raw;
use std::ffi::c_void;
use std::sync::OnceLock;

/// An event of the server that a part of the module listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server became a master or a replica.
    RoleChanged,
    /// The server has just forked a child. Only the parent is notified.
    Forked,
    /// The server's own timer fired, as it does `hz` times a second.
    Cron,
    /// A dataset is about to be loaded: at the start, from a master, or by DEBUG RELOAD. Nothing
    /// has been read yet.
    LoadBegins,
    /// The load succeeded.
    LoadEnded,
    /// The load failed. The server may go on with the data from before.
    LoadFailed,
}

/// An event, and the function that is called for it.
pub type EventListener = (Event, fn(&Context<'_>));

/// The listeners of this layer. The server keeps only one callback an event, so this file calls all
/// of them.
static LISTENERS: &[EventListener] = &[
    (Event::RoleChanged, crate::server::effects::propagation::changed),
    (Event::Forked, crate::server::effects::propagation::changed),
];

/// The lists of listeners that the module handed over when it was loaded.
static MODULE: OnceLock<&'static [&'static [EventListener]]> = OnceLock::new();

/// Subscribes to the server's events, for the listeners of this layer and for `listeners`. Returns
/// true if the server announces all of them.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(super) unsafe fn subscribe(
    ctx: *mut raw::RedisModuleCtx,
    listeners: &'static [&'static [EventListener]],
) -> bool {
    let _ = MODULE.set(listeners);
    let wanted: [(u64, raw::RedisModuleEventCallback); 4] = [
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, Some(role_changed)),
        (raw::REDISMODULE_EVENT_FORK_CHILD, Some(forked)),
        (raw::REDISMODULE_EVENT_LOADING, Some(loading)),
        (raw::REDISMODULE_EVENT_CRON_LOOP, Some(cron)),
    ];
    let mut all = true;
    for (id, callback) in wanted {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: the context is live; the callbacks are functions of this library.
        let answer = unsafe { call_if_there!(RedisModule_SubscribeToServerEvent(ctx, event, callback)) };
        all &= answer == Some(0);
    }
    let event = raw::RedisModuleEvent { id: raw::REDISMODULE_EVENT_MODULE_CHANGE, dataver: 1 };
    // SAFETY: as above.
    unsafe { call_if_there!(RedisModule_SubscribeToServerEvent(ctx, event, Some(module_changed))) };
    all
}

/// # Safety
/// Called by the server, on its main thread, with a live context.
unsafe fn dispatch(ctx: *mut raw::RedisModuleCtx, event: Event) {
    // SAFETY: the caller's promise.
    let ctx = unsafe { Context::from_raw(ctx) };
    boundary::enter(&ctx, || {
        let of_module = MODULE.get().copied().unwrap_or_default();
        LISTENERS
            .iter()
            .chain(of_module.iter().copied().flatten())
            .filter(|(which, _)| *which == event)
            .for_each(|(_, listener)| listener(&ctx));
    });
}

unsafe extern "C" fn module_changed(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    _: *mut c_void,
) {
    // SAFETY: the server calls it on its main thread, with a live context.
    other_modules::changed(unsafe { Context::from_raw(ctx) }.main());
}

unsafe extern "C" fn role_changed(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    _: *mut c_void,
) {
    // SAFETY: the server calls it on its main thread.
    unsafe { dispatch(ctx, Event::RoleChanged) }
}

unsafe extern "C" fn forked(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    _: *mut c_void,
) {
    if subevent == raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN {
        // SAFETY: the server calls it on its main thread.
        unsafe { dispatch(ctx, Event::Forked) }
    }
}

unsafe extern "C" fn cron(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    data: *mut c_void,
) {
    // SAFETY: the server passes a structure with its frequency, or null.
    let hz = unsafe { data.cast::<raw::RedisModuleCronLoopV1>().as_ref() }.map(|info| info.hz);
    // SAFETY: the server calls it on its main thread.
    unsafe {
        let context = Context::from_raw(ctx);
        cron_lag::turn(context.main(), hz);
        timer::turn(&context);
        dispatch(ctx, Event::Cron);
    }
}

unsafe extern "C" fn loading(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    _: *mut c_void,
) {
    let event = match subevent {
        raw::REDISMODULE_SUBEVENT_LOADING_RDB_START
        | raw::REDISMODULE_SUBEVENT_LOADING_AOF_START
        | raw::REDISMODULE_SUBEVENT_LOADING_REPL_START => Event::LoadBegins,
        raw::REDISMODULE_SUBEVENT_LOADING_ENDED => Event::LoadEnded,
        raw::REDISMODULE_SUBEVENT_LOADING_FAILED => Event::LoadFailed,
        _ => return,
    };
    // SAFETY: the server calls it on its main thread.
    unsafe { dispatch(ctx, event) }
}
