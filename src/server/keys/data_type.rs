//! Native types: the trait for values that a key can hold, and the callbacks that the server needs.

use crate::core::wire::Corrupt;
use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::ffi::log;
use crate::server::keys::keyspace;
use crate::server::keys::tagged_box::TaggedBox;
use crate::server::main_thread::MainThread;
use redis_module::raw;
use std::ffi::{CString, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A value that fits into the one pointer that a key has for it.
///
/// # Safety
/// The type is `repr(transparent)` over one non-null pointer to an allocation of this module. The
/// lowest three bits of the pointer may hold a tag. Nothing inside that allocation points into the
/// allocation itself, because defragmentation moves it.
pub unsafe trait PointerSized: Sized {}

// SAFETY: `repr(transparent)` over a tagged `NonNull`; boxes may be moved.
unsafe impl<A, B, C> PointerSized for TaggedBox<A, B, C> {}

// SAFETY: a box of a sized type has the layout of its pointer. Every block of the server's
// allocator starts at a multiple of 8, so the tag is 0. Boxes may be moved.
unsafe impl<T> PointerSized for Box<T> {}

/// A native type of the server.
pub trait NativeType: Send + Sized + 'static {
    /// The pointer that a key stores for a value.
    type Pointer: PointerSized;
    /// The name of the type: nine characters, as the server requires.
    const NAME: &'static str;
    /// The version of the encoding that `save` writes. Payloads of a larger version are refused.
    const ENCODING: u16;
    /// The command that rebuilds a key from `COMMAND key payload`, when an AOF is rewritten without
    /// an RDB preamble.
    const REBUILD: &'static std::ffi::CStr;
    /// The place where this process keeps the handle that the server gave the type.
    const HANDLE: &'static Handle;
    /// State of the server that RDB files keep beside the keys of this type.
    const BESIDE: Option<AuxData> = None;

    /// Turns the value into its pointer.
    fn into_pointer(self) -> Self::Pointer;
    /// Turns a pointer that [`NativeType::into_pointer`] made back into the value.
    fn from_pointer(pointer: Self::Pointer) -> Self;
    /// Appends the whole value to `out`. Equal values give equal bytes.
    fn save(&self, main: MainThread, out: &mut Vec<u8>);
    /// Appends the payload with which [`NativeType::REBUILD`] makes an equal value.
    fn rebuild(&self, main: MainThread, out: &mut Vec<u8>);
    /// Reads what `save` wrote. The payload may be forged, so nothing in it is trusted.
    ///
    /// # Errors
    /// [`Corrupt`], with the reason for the log.
    fn load(main: MainThread, encoding: u16, payload: &[u8]) -> Result<Self, Corrupt>;
    /// A hook that is called just before a key of this database holds the value, after a load from
    /// a dump or a restore. It is not called if the server does not tell the name of the key.
    fn loaded(&self, _: MainThread, _database: Option<i32>, _name: &[u8]) {}
    /// The number of bytes that the value holds beyond its pointer.
    fn memory(&self) -> usize;
    /// The number of allocations that are freed with the value.
    fn free_effort(&self) -> usize;
    /// Makes an equal value for another key (COPY).
    #[must_use]
    fn duplicate(&self, main: MainThread) -> Self;
}

/// State of the server, outside keys, that RDB files keep.
#[derive(Clone, Copy, Debug)]
pub struct AuxData {
    /// Returns the payload, or `None` if there is nothing to keep. Servers of 7.2 and later then
    /// write nothing, so that a dump without keys of ours loads on a server without the module.
    pub save: fn(MainThread) -> Option<Vec<u8>>,
    /// The command that takes over the payload from an AOF without an RDB preamble.
    pub rebuild: &'static std::ffi::CStr,
    /// Takes over a payload. The state from before the load was cleared when the load began (see
    /// [`events`](crate::server::events)).
    pub load: fn(MainThread, &[u8]) -> Result<(), Corrupt>,
}

/// The server's handle of a registered type.
#[derive(Debug, Default)]
pub struct Handle(AtomicPtr<raw::RedisModuleType>);

impl Handle {
    /// A handle of a type that is not registered yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(in crate::server) fn raw(&self) -> *mut raw::RedisModuleType {
        self.0.load(Ordering::Relaxed)
    }
}

/// Turns a value into the bare pointer that the server stores.
pub(in crate::server) fn into_raw<T: NativeType>(value: T) -> *mut c_void {
    let pointer = ManuallyDrop::new(value.into_pointer());
    // SAFETY: `PointerSized` promises the layout of one pointer.
    unsafe { std::mem::transmute_copy::<ManuallyDrop<T::Pointer>, *mut c_void>(&pointer) }
}

/// Turns a stored pointer back into the value. The caller decides whether to drop it.
///
/// # Safety
/// `raw` came from [`into_raw`] of the same type, and the value is not owned twice.
pub(in crate::server) unsafe fn from_raw<T: NativeType>(raw: NonNull<c_void>) -> ManuallyDrop<T> {
    // SAFETY: the caller's promise, and the layout that `PointerSized` promises.
    let pointer = unsafe { std::mem::transmute_copy::<NonNull<c_void>, T::Pointer>(&raw) };
    ManuallyDrop::new(T::from_pointer(pointer))
}

type AuxSave = unsafe extern "C" fn(*mut raw::RedisModuleIO, c_int);

/// Registers `T` with the server. Call it once, when the module is loaded.
///
/// # Errors
/// A line for the log, if the server refuses the type.
pub fn register<T: NativeType>(ctx: &Context<'_>) -> Result<(), String> {
    let name = CString::new(T::NAME).unwrap_or_default();
    // Servers of 7.2 and later can write nothing instead of an empty payload.
    // SAFETY: takes no arguments.
    let may_write_nothing =
        unsafe { call_if_there!(RedisModule_GetTypeMethodVersion()) }.is_some_and(|version| version >= 5);
    let beside = T::BESIDE.is_some();
    if let Some(aux) = T::BESIDE {
        let _ = AUX.set(aux);
    }
    let aux: AuxSave = if may_write_nothing { aux_save::<T, false> } else { aux_save::<T, true> };
    let mut methods = raw::RedisModuleTypeMethods {
        version: u64::from(raw::REDISMODULE_TYPE_METHOD_VERSION),
        rdb_load: Some(rdb_load::<T>),
        rdb_save: Some(rdb_save::<T>),
        aof_rewrite: Some(aof_rewrite::<T>),
        mem_usage: Some(mem_usage::<T>),
        digest: Some(digest::<T>),
        free: Some(free::<T>),
        aux_load: beside.then_some(aux_load::<T>),
        aux_save: (beside && !may_write_nothing).then_some(aux),
        aux_save_triggers: if beside { constant(raw::REDISMODULE_AUX_BEFORE_RDB) } else { 0 },
        free_effort: Some(free_effort::<T>),
        unlink: Some(unlink),
        copy: Some(copy::<T>),
        defrag: Some(defrag),
        mem_usage2: None,
        free_effort2: None,
        unlink2: Some(unlink2),
        copy2: None,
        aux_save2: (beside && may_write_nothing).then_some(aux),
    };
    let encoding = c_int::from(T::ENCODING);
    // SAFETY: the context is live; the name and the methods outlive the call, which copies them.
    let handle =
        unsafe { call!(RedisModule_CreateDataType(ctx.raw(), name.as_ptr(), encoding, &raw mut methods)) };
    T::HANDLE.0.store(handle, Ordering::Relaxed);
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).push((handle.addr(), T::NAME));
    if handle.is_null() { Err(format!("the server refused the type {}", T::NAME)) } else { Ok(()) }
}

/// The registered types: the address of the handle, and the name.
static NAMES: Mutex<Vec<(usize, &str)>> = Mutex::new(Vec::new());

/// The name of a type of this module; `None` for a type of somebody else.
pub(in crate::server) fn name_of(kind: *mut raw::RedisModuleType) -> Option<&'static str> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.iter().find(|&&(handle, _)| handle == kind.addr()).map(|&(_, name)| name)
}

/// Runs `f` on the value behind `raw` without dropping it.
///
/// # Safety
/// `raw` is a stored pointer of `T` that nobody else borrows.
unsafe fn with<T: NativeType, R>(raw: *const c_void, f: impl FnOnce(&T) -> R) -> Option<R> {
    let raw = NonNull::new(raw.cast_mut())?;
    // SAFETY: the caller's promise.
    let value = unsafe { from_raw::<T>(raw) };
    boundary::guard(|| f(&value))
}

/// Reads a payload from an RDB file, and hands it to `load`. `None` if there is none or it is
/// refused; the log has the reason, in which `what` names the payload.
///
/// # Safety
/// `io` is live, on the main thread.
unsafe fn load_bytes<R>(
    io: *mut raw::RedisModuleIO,
    what: std::fmt::Arguments<'_>,
    load: impl FnOnce(MainThread, &[u8]) -> Result<R, Corrupt>,
) -> Option<R> {
    let mut len = 0;
    // SAFETY: the caller's promise; the buffer returned is ours to free.
    let (buffer, main) =
        unsafe { (call!(RedisModule_LoadStringBuffer(io, &raw mut len)), MainThread::new()) };
    if buffer.is_null() {
        return None;
    }
    // SAFETY: `buffer` holds `len` bytes.
    let payload = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), len) };
    let loaded = boundary::guard(|| load(main, payload));
    // SAFETY: ours, and not used afterwards.
    unsafe { call!(RedisModule_Free(buffer.cast())) };
    loaded?
        .inspect_err(|reason| {
            log::line(log::LogLevel::Warning, &format!("refused {what}: {reason}"));
        })
        .ok()
}

unsafe extern "C" fn rdb_load<T: NativeType>(io: *mut raw::RedisModuleIO, encoding: c_int) -> *mut c_void {
    let load = |main, payload: &[u8]| {
        let encoding = u16::try_from(encoding).map_err(|_| Corrupt("unknown encoding"))?;
        let value = T::load(main, encoding, payload)?;
        // SAFETY: `io` is live.
        if let Some((database, name)) = unsafe { place_of(io) } {
            value.loaded(main, database, name.bytes());
        }
        Ok(value)
    };
    // SAFETY: the server passes a live `io`, on its main thread.
    let loaded = unsafe { load_bytes(io, format_args!("a {} payload", T::NAME), load) };
    loaded.map_or(std::ptr::null_mut(), into_raw)
}

/// The database and the name of the key that is being loaded. Servers before 7.0 do not tell the
/// database.
///
/// # Safety
/// `io` is live for `'a`.
unsafe fn place_of<'a>(io: *mut raw::RedisModuleIO) -> Option<(Option<i32>, Arg<'a>)> {
    // SAFETY: the caller's promise; the name lives as long as `io`.
    unsafe {
        let name = call_if_there!(RedisModule_GetKeyNameFromIO(io))?.cast_mut();
        let database = call_if_there!(RedisModule_GetDbIdFromIO(io));
        (!name.is_null()).then(|| (database, Arg::from_raw(name)))
    }
}

unsafe extern "C" fn rdb_save<T: NativeType>(io: *mut raw::RedisModuleIO, value: *mut c_void) {
    // SAFETY: `io` is live.
    unsafe { save_bytes(io, payload_of::<T>(value)) }
}

/// Writes a payload into an RDB file. It may be empty.
///
/// Redis 6.2 looks whether a short string is a number. It reads on until it finds a byte that is no
/// digit, even beyond the string's length. So a zero byte follows the payload.
///
/// # Safety
/// `io` is live.
unsafe fn save_bytes(io: *mut raw::RedisModuleIO, mut payload: Vec<u8>) {
    let len = payload.len();
    payload.push(0);
    // SAFETY: the caller's promise; the buffer outlives the call.
    unsafe { call!(RedisModule_SaveStringBuffer(io, payload.as_ptr().cast(), len)) }
}

/// Writes the state beside the keys. With `ALWAYS`, an empty payload is written if there is none.
unsafe extern "C" fn aux_save<T: NativeType, const ALWAYS: bool>(io: *mut raw::RedisModuleIO, _: c_int) {
    let Some(beside) = T::BESIDE else { return };
    // SAFETY: the server runs this on its main thread or in a forked child of it.
    let main = unsafe { MainThread::new() };
    let payload = boundary::guard(|| (beside.save)(main)).flatten();
    if let Some(payload) = payload.or_else(|| ALWAYS.then(Vec::new)) {
        // SAFETY: `io` is live.
        unsafe { save_bytes(io, payload) }
    }
}

unsafe extern "C" fn aux_load<T: NativeType>(
    io: *mut raw::RedisModuleIO,
    encoding: c_int,
    _: c_int,
) -> c_int {
    let load = |main, payload: &[u8]| match T::BESIDE {
        _ if payload.is_empty() => Ok(()),
        Some(beside) if encoding == c_int::from(T::ENCODING) => (beside.load)(main, payload),
        _ => Err(Corrupt("unknown encoding")),
    };
    // SAFETY: the server passes a live `io`, on its main thread.
    let loaded = unsafe { load_bytes(io, format_args!("the data stored beside keys of {}", T::NAME), load) };
    constant(if loaded.is_some() { raw::REDISMODULE_OK } else { raw::REDISMODULE_ERR })
}

/// The state beside the keys, whichever type has it. AOF rewrites need it.
static AUX: OnceLock<AuxData> = OnceLock::new();

/// The process that last wrote that state into an AOF. Each rewrite is a forked child, which writes
/// it once, before its first key of ours.
static AUX_WRITTEN_BY: AtomicU32 = AtomicU32::new(0);

/// # Safety
/// `io` is live, in a forked child of the server's main thread.
unsafe fn rewrite_aux(io: *mut raw::RedisModuleIO) {
    let process = std::process::id();
    let Some(aux) = AUX.get().filter(|_| AUX_WRITTEN_BY.swap(process, Ordering::Relaxed) != process) else {
        return;
    };
    // SAFETY: the caller's promise.
    let payload = boundary::guard(|| (aux.save)(unsafe { MainThread::new() })).flatten();
    if let Some(payload) = payload {
        // SAFETY: `io` is live; the format matches the arguments.
        unsafe {
            call!(RedisModule_EmitAOF(
                io,
                aux.rebuild.as_ptr(),
                c"b".as_ptr(),
                payload.as_ptr(),
                payload.len()
            ));
        }
    }
}

unsafe extern "C" fn aof_rewrite<T: NativeType>(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    // SAFETY: the server calls this in a forked child of its main thread, and `io` is live.
    unsafe { rewrite_aux(io) };
    let mut payload = Vec::new();
    // SAFETY: the server passes the pointer of a key of this type, in a forked
    // child of its main thread.
    unsafe { with::<T, _>(value, |value| value.rebuild(MainThread::new(), &mut payload)) };
    // SAFETY: `io` and `key` are live; the format matches the arguments.
    unsafe {
        call!(RedisModule_EmitAOF(
            io,
            T::REBUILD.as_ptr(),
            c"sb".as_ptr(),
            key,
            payload.as_ptr(),
            payload.len()
        ));
    }
}

fn payload_of<T: NativeType>(value: *const c_void) -> Vec<u8> {
    let mut payload = Vec::new();
    // SAFETY: the server passes the pointer of a key of this type, on its main
    // thread or in a forked child of it.
    unsafe { with::<T, _>(value, |value| value.save(MainThread::new(), &mut payload)) };
    payload
}

unsafe extern "C" fn mem_usage<T: NativeType>(value: *const c_void) -> usize {
    // SAFETY: the server passes the pointer of a key of this type.
    unsafe { with::<T, _>(value, T::memory) }.unwrap_or(0)
}

unsafe extern "C" fn digest<T: NativeType>(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    let payload = payload_of::<T>(value);
    // SAFETY: `md` is live and the buffer outlives the calls.
    unsafe {
        call!(RedisModule_DigestAddStringBuffer(md, payload.as_ptr().cast(), payload.len()));
        call!(RedisModule_DigestEndSequence(md));
    }
}

/// May run on a background thread (UNLINK, FLUSHALL ASYNC), so it touches nothing but the value and
/// what its `Drop` may touch (see the guide's page on threads).
unsafe extern "C" fn free<T: NativeType>(value: *mut c_void) {
    if let Some(raw) = NonNull::new(value) {
        // SAFETY: the server gives the value up, and `NativeType` is `Send`.
        let value = unsafe { from_raw::<T>(raw) };
        boundary::guard(|| drop(ManuallyDrop::into_inner(value)));
    }
}

unsafe extern "C" fn free_effort<T: NativeType>(
    _: *mut raw::RedisModuleString,
    value: *const c_void,
) -> usize {
    // SAFETY: the server passes the pointer of a key of this type.
    unsafe { with::<T, _>(value, T::free_effort) }.unwrap_or(1)
}

unsafe extern "C" fn copy<T: NativeType>(
    _: *mut raw::RedisModuleString,
    _: *mut raw::RedisModuleString,
    value: *const c_void,
) -> *mut c_void {
    // SAFETY: the server passes the pointer of a key of this type, on its main thread.
    let copy = unsafe { with::<T, _>(value, |value| value.duplicate(MainThread::new())) };
    copy.map_or(std::ptr::null_mut(), into_raw)
}

/// The server calls this when a key loses its value, by whatever command: it was deleted, expired,
/// evicted, renamed or overwritten. Servers before 7.0 do not tell the database.
unsafe extern "C" fn unlink(name: *mut raw::RedisModuleString, _: *const c_void) {
    // SAFETY: the server passes a live name, on its main thread.
    unsafe { keyspace::value_left(MainThread::new(), name, || None) }
}

/// The same from servers that tell the database, which have both functions.
unsafe extern "C" fn unlink2(ctx: *mut raw::RedisModuleKeyOptCtx, _: *const c_void) {
    // SAFETY: the server passes a live context, on its main thread.
    unsafe {
        let Some(name) = call_if_there!(RedisModule_GetKeyNameFromOptCtx(ctx)) else { return };
        let database = || call_if_there!(RedisModule_GetDbIdFromOptCtx(ctx));
        keyspace::value_left(MainThread::new(), name.cast_mut(), database);
    }
}

/// Moves the value's own allocation. What that allocation points to stays where it is.
unsafe extern "C" fn defrag(
    ctx: *mut raw::RedisModuleDefragCtx,
    _: *mut raw::RedisModuleString,
    value: *mut *mut c_void,
) -> c_int {
    const TAG: usize = 0b111;
    // SAFETY: `value` points to a stored pointer whose low bits are its tag (`PointerSized`);
    // `DefragAlloc` copies the bytes and frees the old block.
    unsafe {
        let tagged = *value;
        let tag = tagged.addr() & TAG;
        let moved = call!(RedisModule_DefragAlloc(ctx, tagged.map_addr(|address| address & !TAG)));
        if !moved.is_null() {
            *value = moved.map_addr(|address| address | tag);
        }
    }
    0
}
