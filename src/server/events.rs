//! The server's events, and the lists of functions that listen to them.

use super::context::Context;
use crate::server::effects::propagation;
use crate::server::ffi::api::call;
use crate::server::timing::{stall, timer};
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

/// The lists of listeners that the module handed over when it was loaded. The server keeps only one
/// callback an event, so this file calls all of them.
static MODULE: OnceLock<&'static [&'static [EventListener]]> = OnceLock::new();

/// Subscribes to the server's events, for this layer and for `listeners`. Call it once, when the
/// module is loaded.
pub fn register(ctx: &Context<'_>, listeners: &'static [&'static [EventListener]]) {
    let _ = MODULE.set(listeners);
    call_for(ctx, raw::REDISMODULE_EVENT_MODULE_CHANGE, Some(happened));
    let wanted = [
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
        raw::REDISMODULE_EVENT_FORK_CHILD,
        raw::REDISMODULE_EVENT_LOADING,
        raw::REDISMODULE_EVENT_CRON_LOOP,
    ];
    let refused = wanted.into_iter().filter(|id| !call_for(ctx, *id, Some(happened))).count();
    if refused == 0 {
        propagation::begin(ctx);
    }
}

/// Makes the server call `callback`, a function of this library, for the event of this number.
/// Returns false if the server does not announce it.
pub(super) fn call_for(ctx: &Context<'_>, id: u64, callback: raw::RedisModuleEventCallback) -> bool {
    let event = raw::RedisModuleEvent { id, dataver: 1 };
    // SAFETY: the context is live; the server calls the function as the type says.
    unsafe { call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, callback)) == 0 }
}

unsafe extern "C" fn happened(
    ctx: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    subevent: u64,
    data: *mut c_void,
) {
    // SAFETY: the server calls it on its main thread, with a live context.
    let ctx = unsafe { Context::from_raw(ctx) };
    let event = match (event.id, subevent) {
        (raw::REDISMODULE_EVENT_MODULE_CHANGE, _) => return other_modules::changed(ctx.main()),
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, _) => Event::RoleChanged,
        (raw::REDISMODULE_EVENT_FORK_CHILD, raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN) => Event::Forked,
        (raw::REDISMODULE_EVENT_CRON_LOOP, _) => {
            // SAFETY: the server passes a structure with its frequency, or null.
            let info = unsafe { data.cast::<raw::RedisModuleCronLoopV1>().as_ref() };
            stall::turn(ctx.main(), info.map(|info| info.hz));
            timer::turn(&ctx);
            Event::Cron
        }
        (
            raw::REDISMODULE_EVENT_LOADING,
            raw::REDISMODULE_SUBEVENT_LOADING_RDB_START
            | raw::REDISMODULE_SUBEVENT_LOADING_AOF_START
            | raw::REDISMODULE_SUBEVENT_LOADING_REPL_START,
        ) => Event::LoadBegins,
        (raw::REDISMODULE_EVENT_LOADING, raw::REDISMODULE_SUBEVENT_LOADING_ENDED) => Event::LoadEnded,
        (raw::REDISMODULE_EVENT_LOADING, raw::REDISMODULE_SUBEVENT_LOADING_FAILED) => Event::LoadFailed,
        _ => return,
    };
    boundary::enter(&ctx, || {
        if matches!(event, Event::RoleChanged | Event::Forked) {
            propagation::changed(&ctx);
        }
        let lists = MODULE.get().copied().unwrap_or_default().iter().copied().flatten();
        lists.filter(|(which, _)| *which == event).for_each(|(_, listener)| listener(&ctx));
    });
}
