//! What the server tells its modules: one list of listeners an event.

use super::api::call_if_there;
use super::context::Context;
use redis_module::raw;
use std::ffi::c_void;

/// Something that a part of the module wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server became a master, or a replica.
    RoleChanged,
    /// The server has just forked a child; this is the parent.
    Forked,
}

/// Who hears of what.
pub type Listener = (Event, fn(&Context<'_>));

/// Every listener of the module: the server keeps but one callback an event.
static LISTENERS: &[Listener] =
    &[(Event::RoleChanged, super::audience::changed), (Event::Forked, super::audience::changed)];

/// Asks the server to tell. Returns true when it will tell all.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(super) unsafe fn subscribe(ctx: *mut raw::RedisModuleCtx) -> bool {
    let wanted: [(u64, raw::RedisModuleEventCallback); 2] = [
        (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, Some(role_changed)),
        (raw::REDISMODULE_EVENT_FORK_CHILD, Some(forked)),
    ];
    let mut all = true;
    for (id, callback) in wanted {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: the context is live; the callbacks are functions of this library.
        let answer = unsafe { call_if_there!(RedisModule_SubscribeToServerEvent(ctx, event, callback)) };
        all &= answer == Some(0);
    }
    all
}

/// # Safety
/// Called by the server, on its main thread, with a live context.
unsafe fn tell(ctx: *mut raw::RedisModuleCtx, event: Event) {
    // SAFETY: the caller's promise.
    let ctx = unsafe { Context::from_raw(ctx) };
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        LISTENERS.iter().filter(|(which, _)| *which == event).for_each(|(_, listener)| listener(&ctx));
    }));
    drop(told);
}

unsafe extern "C" fn role_changed(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    _: *mut c_void,
) {
    // SAFETY: the server calls it on its main thread.
    unsafe { tell(ctx, Event::RoleChanged) }
}

unsafe extern "C" fn forked(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    _: *mut c_void,
) {
    if subevent == raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN {
        // SAFETY: the server calls it on its main thread.
        unsafe { tell(ctx, Event::Forked) }
    }
}
