//! Hearing of what others do to keys and databases.

use super::api::{call, constant};
use super::args::Arg;
use super::context::Context;
use redis_module::raw;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Happened<'a> {
    /// A key of the context's database was deleted or overwritten, or is about
    /// to be.
    ToKey(Arg<'a>),
    /// A database now holds other keys, or none.
    ToDatabase(i32),
    /// So do all of them.
    ToAll,
}

static LISTENER: OnceLock<fn(&Context<'_>, Happened<'_>)> = OnceLock::new();

/// Has `listener` called from now on. Costs every deletion and expiry on the
/// server a little, so it is asked for only when somebody needs it. Once is
/// enough. In the listener nothing may be written.
///
/// From 7.2 on keys that go are an event of the server. Only where they are not
/// are keyspace notifications asked for: while a module listens to them, Valkey
/// 8.1 and 9.0 leave a client that calls MOVE or COPY between databases in the
/// wrong one, and its replicas too (valkey-io/valkey#4024).
pub fn listen(ctx: &Context<'_>, listener: fn(&Context<'_>, Happened<'_>)) {
    if LISTENER.set(listener).is_err() {
        return;
    }
    // SAFETY: the context is live; the callbacks are functions of this library.
    let subscribe = |id, callback: Callback| unsafe {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, Some(callback)))
    };
    subscribe(raw::REDISMODULE_EVENT_FLUSHDB, flushed);
    subscribe(raw::REDISMODULE_EVENT_SWAPDB, swapped);
    if subscribe(raw::REDISMODULE_EVENT_KEY, key_goes) != constant(raw::REDISMODULE_OK) {
        let classes = raw::REDISMODULE_NOTIFY_GENERIC
            | raw::REDISMODULE_NOTIFY_EXPIRED
            | raw::REDISMODULE_NOTIFY_EVICTED;
        // SAFETY: as above.
        unsafe { call!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw(), classes, Some(key_changed))) };
    }
}

type Callback = unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void);

/// # Safety
/// `ctx` is live, on the main thread.
unsafe fn tell(ctx: *mut raw::RedisModuleCtx, happened: Happened<'_>) {
    if let Some(listener) = LISTENER.get() {
        // SAFETY: the caller's promise.
        let context = unsafe { Context::from_raw(ctx) };
        drop(catch_unwind(AssertUnwindSafe(|| listener(&context, happened))));
    }
}

unsafe extern "C" fn key_goes(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    data: *mut c_void,
) {
    // SAFETY: the server passes what belongs to the event: an open key, which
    // lives as long as the call, in a live context of its database.
    unsafe {
        if let Some(info) = data.cast::<raw::RedisModuleKeyInfo>().as_ref() {
            let name = call!(RedisModule_GetKeyNameFromModuleKey(info.key));
            tell(ctx, Happened::ToKey(Arg::from_raw(name.cast_mut())));
        }
    }
}

unsafe extern "C" fn key_changed(
    ctx: *mut raw::RedisModuleCtx,
    _: c_int,
    _: *const c_char,
    name: *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server passes a live context and name.
    unsafe { tell(ctx, Happened::ToKey(Arg::from_raw(name))) }
    0
}

unsafe extern "C" fn flushed(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    subevent: u64,
    data: *mut c_void,
) {
    if subevent != raw::REDISMODULE_SUBEVENT_FLUSHDB_END {
        return;
    }
    // SAFETY: the server passes what belongs to the event, or nothing.
    let info = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() };
    let happened = match info.map(|info| info.dbnum) {
        Some(db) if db >= 0 => Happened::ToDatabase(db),
        _ => Happened::ToAll,
    };
    // SAFETY: the server passes a live context.
    unsafe { tell(ctx, happened) }
}

unsafe extern "C" fn swapped(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    data: *mut c_void,
) {
    // SAFETY: the server passes what belongs to the event, and a live context.
    unsafe {
        if let Some(info) = data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() {
            tell(ctx, Happened::ToDatabase(info.dbnum_first));
            tell(ctx, Happened::ToDatabase(info.dbnum_second));
        }
    }
}
