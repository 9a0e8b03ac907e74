//! The context of one call: the handle that a command, an event or a timer works with.

use super::main_thread::{MainThread, MainThreadCell};
use crate::core::time::Micros;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::log;
use redis_module::raw;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A live context of the server on its main thread.
#[derive(Debug)]
pub struct Context<'c> {
    raw: *mut raw::RedisModuleCtx,
    live: PhantomData<&'c ()>,
}

/// The time that RL.DEBUG CLOCK set, for tests.
static DEBUG_CLOCK: MainThreadCell<Option<Micros>> = MainThreadCell::new(None);

/// The flag of a client that imports a slot from another node; 0 if the server has no such flag. It
/// is learnt when the module is loaded.
static SLOT_IMPORT: AtomicI32 = AtomicI32::new(0);

/// Records that this server is Valkey. The context flags of Valkey and of Redis 8 differ from the
/// 26th bit on: the same bit has two meanings.
pub(super) fn runs_on_valkey() {
    const VALKEY_SLOT_IMPORT_CLIENT: c_int = 1 << 25;
    SLOT_IMPORT.store(VALKEY_SLOT_IMPORT_CLIENT, Ordering::Relaxed);
}

/// True if the server is Valkey. False until [`runs_on_valkey`] was called.
pub(super) fn is_valkey() -> bool {
    SLOT_IMPORT.load(Ordering::Relaxed) != 0
}

/// The flags by which the server describes the call and itself.
#[derive(Clone, Copy, Debug)]
pub struct Flags(c_int);

impl Flags {
    const fn has(self, flag: u32) -> bool {
        self.0 & flag.cast_signed() != 0
    }

    /// The command was decided elsewhere: it comes from this server's master, from its own AOF, or
    /// from the node whose slot this one takes over.
    pub fn replicated_or_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICATED)
            || self.is_loading()
            || self.0 & SLOT_IMPORT.load(Ordering::Relaxed) != 0
    }

    /// True if this server is a master.
    pub const fn master(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MASTER)
    }

    /// True if this server is a node of a cluster.
    pub const fn cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// True if this server is a replica that clients may not write to.
    pub const fn read_only(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_READONLY)
    }

    /// Memory is at `maxmemory`.
    pub const fn out_of_memory(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_OOM)
    }

    /// The server evicts keys when memory is short.
    pub const fn evicts(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_EVICT)
    }

    /// True if this server writes an AOF.
    pub const fn writes_aof(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_AOF)
    }

    /// The call comes from a script.
    pub const fn script(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// The server is loading its data.
    pub const fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// The call is part of a MULTI transaction.
    pub const fn in_transaction(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI)
    }

    /// The client must not block: the call is in MULTI, in a script, or in another place that
    /// forbids it.
    pub const fn deny_blocking(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
            || self.in_transaction()
            || self.has(raw::REDISMODULE_CTX_FLAGS_LUA)
    }
}

impl Context<'_> {
    /// # Safety
    /// `raw` is a live context for at least `'c`, on the main thread.
    pub(super) const unsafe fn from_raw(raw: *mut raw::RedisModuleCtx) -> Self {
        Self { raw, live: PhantomData }
    }

    pub(super) const fn raw(&self) -> *mut raw::RedisModuleCtx {
        self.raw
    }

    /// The proof that the code runs on the main thread.
    pub const fn main(&self) -> MainThread {
        // SAFETY: a context is only made on the main thread (`from_raw`).
        unsafe { MainThread::new() }
    }

    /// The time of this command, in microseconds since 1970.
    ///
    /// It is the debug clock while that is set. Otherwise it is the start of the command, if the
    /// server offers that: such a time stands still in MULTI and in scripts, and costs no system
    /// call. On other servers it is the wall clock.
    pub fn now(&self) -> Micros {
        now(self.main())
    }

    /// The wall clock in milliseconds since 1970. It ignores the debug clock, because the server's
    /// own expiry does.
    pub fn wall_millis(&self) -> i64 {
        i64::try_from(wall_micros() / 1000).unwrap_or(i64::MAX)
    }

    /// True while the debug clock is set. Keys get no expiry then.
    pub fn debug_clock_is_set(&self) -> bool {
        debug_clock_is_set(self.main())
    }

    /// Sets the clock that [`Context::now`] reads. `None` returns to the server's clock.
    pub fn set_debug_clock(&self, now: Option<Micros>) {
        *DEBUG_CLOCK.of(self.main()).borrow_mut() = now.map(|now| now.min(Micros::MAX));
    }

    /// The flags of this call.
    pub fn flags(&self) -> Flags {
        // SAFETY: the context is live.
        Flags(unsafe { call!(RedisModule_GetContextFlags(self.raw)) })
    }

    /// The number of the database that keys are opened in.
    pub fn database(&self) -> i32 {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_GetSelectedDb(self.raw)) }
    }

    /// Selects another database for what follows.
    pub(super) fn select(&self, database: i32) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_SelectDb(self.raw, database)) };
    }

    /// Runs `run` in another database, then returns to the current one.
    pub fn in_database<R>(&self, database: i32, run: impl FnOnce() -> R) -> R {
        let before = self.database();
        self.select(database);
        let result = run();
        self.select(before);
        result
    }

    /// Runs `run` in each database of the server.
    pub fn in_each_database(&self, mut run: impl FnMut(i32)) {
        let before = self.database();
        for database in 0.. {
            // SAFETY: the context is live. The server refuses a number that it has no database for.
            if unsafe { call!(RedisModule_SelectDb(self.raw, database)) } != constant(raw::REDISMODULE_OK) {
                break;
            }
            run(database);
        }
        self.select(before);
    }

    /// A context of our own, for code that has none. `None` if the server makes no such contexts.
    pub(super) fn detached(&self) -> Option<Context<'static>> {
        // SAFETY: the context is live. The new one is never freed.
        unsafe {
            let raw = call_if_there!(RedisModule_GetDetachedThreadSafeContext(self.raw))?;
            (!raw.is_null()).then(|| Context::from_raw(raw))
        }
    }

    /// True while nothing may be propagated to replicas (CLIENT PAUSE, FAILOVER).
    pub fn must_not_propagate(&self) -> bool {
        // SAFETY: takes no arguments.
        unsafe { call_if_there!(RedisModule_AvoidReplicaTraffic()) }.is_some_and(|avoid| avoid != 0)
    }

    /// Writes a line into the server's log.
    pub fn log(&self, level: log::LogLevel, text: &str) {
        // SAFETY: the context is live.
        unsafe { log::write(self.raw, level, text) }
    }
}

/// The same as [`Context::now`], for code that has no context.
pub fn now(main: MainThread) -> Micros {
    if let Some(set) = *DEBUG_CLOCK.of(main).borrow() {
        return set;
    }
    // SAFETY: takes no arguments.
    let cached = unsafe { call_if_there!(RedisModule_CachedMicroseconds()) };
    let now = cached.and_then(|us| u64::try_from(us).ok()).unwrap_or_else(wall_micros);
    Micros(now).min(Micros::MAX)
}

/// The present moment in microseconds since 1970, which is never before the time of the running
/// command. The server decides by it whether a key has expired. While the debug clock is set, it is
/// that clock.
pub fn moment(main: MainThread) -> Micros {
    DEBUG_CLOCK.of(main).borrow().unwrap_or_else(|| Micros(wall_micros()).min(Micros::MAX))
}

/// The same as [`Context::debug_clock_is_set`], for code that has no context.
pub fn debug_clock_is_set(main: MainThread) -> bool {
    DEBUG_CLOCK.of(main).borrow().is_some()
}

/// The wall clock in microseconds since 1970; 0 before that.
fn wall_micros() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
