//! Changes that others make to keys and databases, and the functions that listen to them.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::events;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::keys::left_database;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A change to a key or a database.
#[derive(Clone, Copy, Debug)]
pub enum KeyspaceChange<'a> {
    /// A key lost a value of ours: it was deleted, expired, evicted, renamed, moved or overwritten,
    /// by whatever command.
    ValueLeft {
        /// The name of the key.
        name: Arg<'a>,
        /// The key's database, if the server tells it (7.0 and later).
        database: Option<i32>,
    },
    /// A command of ours changed a value.
    ValueChanged {
        /// The name of the key.
        name: Arg<'a>,
        /// The key's database, which is that of the command.
        database: i32,
    },
    /// A key got a value that another key had before, that was copied, or that was in a dump. The
    /// value may be of any type.
    Arrived {
        /// The name of the key.
        name: Arg<'a>,
        /// The key's database.
        database: i32,
    },
    /// Keys are about to be flushed. They are still there.
    FlushBegins,
    /// The database of this number was flushed.
    ToDatabase(i32),
    /// All databases were flushed.
    ToAll,
    /// The databases of these numbers were swapped.
    Swapped(i32, i32),
}

type KeyspaceListener = fn(MainThread, KeyspaceChange<'_>);

/// The function that is called for changes by others, from the load of the module on.
static ON_CHANGE_BY_OTHERS: OnceLock<KeyspaceListener> = OnceLock::new();
/// The function that is called for them from some later time on, and for changes by our commands.
static ON_CHANGE: OnceLock<KeyspaceListener> = OnceLock::new();

/// Calls `listener` from now on for all changes, except those that our own commands make to values.
/// Call it once, when the module is loaded. The listener must not write to keys.
pub fn on_change_by_others(ctx: &Context<'_>, listener: KeyspaceListener) {
    if ON_CHANGE_BY_OTHERS.set(listener).is_err() {
        return;
    }
    for id in [raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_EVENT_SWAPDB] {
        events::call_for(ctx, id, Some(happened));
    }
    ARRIVALS.of(ctx.main()).borrow_mut().ctx = ctx.detached();
    // From the start on: the first arrival is that of a COPY which has passed the filter by then.
    left_database::watch(ctx);
}

/// The subscription to the arrivals of keys.
#[derive(Debug)]
struct Arrivals {
    /// A context of our own: the subscription is made where no other context exists.
    ctx: Option<Context<'static>>,
    are_told: bool,
    /// True if somebody wanted them during a load, and the server could not be asked for them then.
    were_missed: bool,
}

static ARRIVALS: MainThreadCell<Arrivals> =
    MainThreadCell::new(Arrivals { ctx: None, are_told: false, were_missed: false });

/// Makes the server report [`KeyspaceChange::Arrived`] from now on.
///
/// The server then calls us for every generic event of any key, which costs 7 % of a SET with an
/// expiry. So call this only when the first value is about to arrive: the server still reports that
/// one.
pub fn want_arrivals(main: MainThread) {
    let mut arrivals = ARRIVALS.of(main).borrow_mut();
    let Arrivals { ctx: Some(ctx), are_told, were_missed } = &mut *arrivals else { return };
    if *are_told {
        return;
    }
    if left_database::may_not_be_told(ctx) {
        *were_missed = true;
        return;
    }
    *are_told = true;
    // SAFETY: the context is ours; the callback is a function of this library. Servers that tell
    // the database of a loaded key need not report each key of a load.
    unsafe {
        let tells = (&raw const raw::RedisModule_GetDbIdFromIO).read().is_some();
        let loaded = if tells { 0 } else { raw::REDISMODULE_NOTIFY_LOADED };
        call!(RedisModule_SubscribeToKeyspaceEvents(
            ctx.raw(),
            raw::REDISMODULE_NOTIFY_GENERIC | loaded,
            Some(noticed)
        ));
    }
}

/// True if the load that is over brought values to keys of which the server told nothing, although
/// [`want_arrivals`] asked. Asking once resets it.
pub fn take_missed_arrivals(main: MainThread) -> bool {
    std::mem::take(&mut ARRIVALS.of(main).borrow_mut().were_missed)
}

/// Calls `listener` from now on. Calling this once is enough. The listener must not write to keys.
///
/// Keys of other types cost nothing, because the server itself tells a type when a key loses one of
/// its values.
pub fn on_change(listener: KeyspaceListener) {
    // A second call comes from the same queue and passes the same function.
    let _ = ON_CHANGE.set(listener);
}

fn tell(main: MainThread, happened: KeyspaceChange<'_>) {
    for listener in ON_CHANGE_BY_OTHERS.get().into_iter().chain(ON_CHANGE.get()) {
        boundary::guard(|| listener(main, happened));
    }
}

unsafe extern "C" fn noticed(
    ctx: *mut raw::RedisModuleCtx,
    _: c_int,
    event: *const c_char,
    name: *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server passes a live context, event and name, on its main thread.
    let (ctx, event, name) = unsafe { (Context::from_raw(ctx), CStr::from_ptr(event), Arg::from_raw(name)) };
    if matches!(event.to_bytes(), b"rename_to" | b"move_to" | b"copy_to" | b"restore" | b"loaded") {
        tell(ctx.main(), KeyspaceChange::Arrived { name, database: ctx.database() });
    }
    boundary::guard(|| left_database::put_back(&ctx, event.to_bytes(), name));
    0
}

/// Reports that a key loses a value of ours.
///
/// # Safety
/// `name` is a live string of the server.
pub(in crate::server) unsafe fn value_left(
    main: MainThread,
    name: *mut raw::RedisModuleString,
    database: impl FnOnce() -> Option<i32>,
) {
    // SAFETY: the caller's promise.
    let name = unsafe { Arg::from_raw(name) };
    tell(main, KeyspaceChange::ValueLeft { name, database: database() });
}

/// Reports that a command of ours changed a value.
#[inline]
pub(in crate::server) fn value_changed(ctx: &Context<'_>, name: Arg<'_>) {
    if let Some(listener) = ON_CHANGE.get() {
        let happened = KeyspaceChange::ValueChanged { name, database: ctx.database() };
        boundary::guard(|| listener(ctx.main(), happened));
    }
}

unsafe extern "C" fn happened(
    ctx: *mut raw::RedisModuleCtx,
    event: raw::RedisModuleEvent,
    subevent: u64,
    data: *mut c_void,
) {
    // SAFETY: the server passes a live context, on its main thread.
    let main = unsafe { Context::from_raw(ctx) }.main();
    let change = match (event.id, subevent) {
        (raw::REDISMODULE_EVENT_SWAPDB, _) => {
            // SAFETY: the server passes the structure of the event, or null.
            let info = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() };
            let Some(info) = info else { return };
            KeyspaceChange::Swapped(info.dbnum_first, info.dbnum_second)
        }
        (_, raw::REDISMODULE_SUBEVENT_FLUSHDB_END) => {
            // SAFETY: as above.
            let info = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() };
            match info.map(|info| info.dbnum) {
                Some(db) if db >= 0 => KeyspaceChange::ToDatabase(db),
                _ => KeyspaceChange::ToAll,
            }
        }
        _ => KeyspaceChange::FlushBegins,
    };
    tell(main, change);
}
