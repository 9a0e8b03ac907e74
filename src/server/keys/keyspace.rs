//! Hearing of what others do to keys and databases.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::MainThread;
use redis_module::raw;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum KeyspaceChange<'a> {
    /// A key lost a value of ours: deleted, expired, evicted, renamed, moved,
    /// overwritten by whatever command.
    ValueLeft {
        /// The key.
        name: Arg<'a>,
        /// Its database, where the server tells (7.0 and later).
        database: Option<i32>,
    },
    /// A value of ours changed, in the database that the context is in.
    ValueChanged {
        /// The key.
        name: Arg<'a>,
        /// Its database.
        database: i32,
    },
    /// A database was flushed or swapped.
    ToDatabase(i32),
    /// All databases were flushed.
    ToAll,
}

type KeyspaceListener = fn(MainThread, KeyspaceChange<'_>);

static LISTENER: OnceLock<KeyspaceListener> = OnceLock::new();

/// Has `listener` called from now on. Keys of other types cost nothing: the
/// server itself tells a type when one of its values leaves a key. Once is
/// enough. In the listener nothing may be written.
pub fn listen(ctx: &Context<'_>, listener: KeyspaceListener) {
    if LISTENER.set(listener).is_err() {
        return;
    }
    for (id, callback) in [
        (raw::REDISMODULE_EVENT_FLUSHDB, flushed as Callback),
        (raw::REDISMODULE_EVENT_SWAPDB, swapped as Callback),
    ] {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        // SAFETY: the context is live; the callbacks are functions of this library.
        unsafe {
            call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, Some(callback)));
        }
    }
}

type Callback = unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void);

fn tell(main: MainThread, happened: KeyspaceChange<'_>) {
    if let Some(listener) = LISTENER.get() {
        drop(catch_unwind(AssertUnwindSafe(|| listener(main, happened))));
    }
}

/// A key loses a value of ours.
///
/// # Safety
/// `name` is a live string of the server.
pub(in crate::server) unsafe fn value_left(
    main: MainThread,
    name: *mut raw::RedisModuleString,
    database: impl FnOnce() -> Option<i32>,
) {
    if LISTENER.get().is_some() {
        // SAFETY: the caller's promise.
        let name = unsafe { Arg::from_raw(name) };
        tell(main, KeyspaceChange::ValueLeft { name, database: database() });
    }
}

/// A command of ours changed a value.
#[inline]
pub(in crate::server) fn value_changed(ctx: &Context<'_>, name: Arg<'_>) {
    if LISTENER.get().is_some() {
        tell(ctx.main(), KeyspaceChange::ValueChanged { name, database: ctx.database() });
    }
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
        Some(db) if db >= 0 => KeyspaceChange::ToDatabase(db),
        _ => KeyspaceChange::ToAll,
    };
    // SAFETY: the server passes a live context, on its main thread.
    tell(unsafe { Context::from_raw(ctx) }.main(), happened);
}

unsafe extern "C" fn swapped(
    ctx: *mut raw::RedisModuleCtx,
    _: raw::RedisModuleEvent,
    _: u64,
    data: *mut c_void,
) {
    // SAFETY: the server passes what belongs to the event, and a live context,
    // on its main thread.
    let (main, info) =
        unsafe { (Context::from_raw(ctx).main(), data.cast::<raw::RedisModuleSwapDbInfo>().as_ref()) };
    if let Some(info) = info {
        tell(main, KeyspaceChange::ToDatabase(info.dbnum_first));
        tell(main, KeyspaceChange::ToDatabase(info.dbnum_second));
    }
}
