//! Native types: what a key can hold, and the callbacks the server needs for it.

use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::ffi::log;
use crate::server::keys::keyspace;
use crate::server::keys::tagged_box::TaggedBox;
use crate::server::main_thread::MainThread;
use redis_module::raw;
use std::ffi::{CString, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A value that fits the one pointer a key has for it.
///
/// # Safety
/// The type is `repr(transparent)` over one non-null pointer to an allocation
/// of this module, tagged in its lowest three bits, and nothing points into that
/// allocation from inside (defragmentation moves it).
pub unsafe trait PointerSized: Sized {}

// SAFETY: `repr(transparent)` over a tagged `NonNull`; boxes may be moved.
unsafe impl<A, B, C> PointerSized for TaggedBox<A, B, C> {}

// SAFETY: a box of a sized type has the layout of its pointer, and every block
// of the server's allocator starts at a multiple of 8: no tag. Boxes may be moved.
unsafe impl<T> PointerSized for Box<T> {}

/// What a native type is to the server.
pub trait NativeType: Send + Sized + 'static {
    /// The pointer that stands for it in a key.
    type Pointer: PointerSized;
    /// Nine characters, as the server wants.
    const NAME: &'static str;
    /// The encoding this version writes; a larger one is refused.
    const ENCODING: u16;
    /// The command that rebuilds a key: `COMMAND key payload`, for AOF rewrites
    /// without RDB preamble.
    const REBUILD: &'static std::ffi::CStr;
    /// Where this process keeps the handle that the server gave the type.
    const HANDLE: &'static Handle;
    /// State of the node that RDB files keep beside the keys of this type.
    const BESIDE: Option<AuxData> = None;

    /// Itself as the pointer, and back.
    fn into_pointer(self) -> Self::Pointer;
    /// Back from the pointer.
    fn from_pointer(pointer: Self::Pointer) -> Self;
    /// Appends everything it is: equal values, equal bytes.
    fn save(&self, main: MainThread, out: &mut Vec<u8>);
    /// Appends the payload with which [`NativeType::REBUILD`] makes an equal value.
    fn rebuild(&self, main: MainThread, out: &mut Vec<u8>);
    /// Reads what `save` wrote; believes nothing.
    ///
    /// # Errors
    /// The reason for the log.
    fn load(main: MainThread, encoding: u16, payload: &[u8]) -> Result<Self, String>;
    /// A key of this database is about to hold it: it was loaded from a dump, or
    /// restored. Where the server does not tell the name, nobody is told.
    fn loaded(&self, _: MainThread, _database: Option<i32>, _name: &[u8]) {}
    /// Bytes it holds beyond the pointer.
    fn memory(&self) -> usize;
    /// How many allocations freeing it costs.
    fn free_effort(&self) -> usize;
    /// An equal value for another key (COPY).
    #[must_use]
    fn duplicate(&self, main: MainThread) -> Self;
}

/// State of the node, outside keys, that RDB files keep.
#[derive(Clone, Copy, Debug)]
pub struct AuxData {
    /// Its payload; `None` when there is nothing to keep. Where the server can,
    /// nothing is written then, so that a dump without keys of ours loads where
    /// the module is missing.
    pub save: fn(MainThread) -> Option<Vec<u8>>,
    /// The command that takes the payload over from an AOF without RDB preamble.
    pub rebuild: &'static std::ffi::CStr,
    /// Takes a payload over. What was there before a load began was cleared
    /// when it began (see [`events`](crate::server::events)).
    pub load: fn(MainThread, &[u8]) -> Result<(), String>,
}

/// The server's handle of a registered type.
#[derive(Debug)]
pub struct Handle(AtomicPtr<raw::RedisModuleType>);

impl Handle {
    /// Not registered yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(in crate::server) fn raw(&self) -> *mut raw::RedisModuleType {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new()
    }
}

/// The value as the bare pointer that the server stores.
pub(in crate::server) fn into_raw<T: NativeType>(value: T) -> *mut c_void {
    let pointer = ManuallyDrop::new(value.into_pointer());
    // SAFETY: `PointerSized` promises the layout of one pointer.
    unsafe { std::mem::transmute_copy::<ManuallyDrop<T::Pointer>, *mut c_void>(&pointer) }
}

/// The value behind a stored pointer; whoever asks decides whether to drop it.
///
/// # Safety
/// `raw` came from [`into_raw`] of the same type and is not owned twice.
pub(in crate::server) unsafe fn from_raw<T: NativeType>(raw: NonNull<c_void>) -> ManuallyDrop<T> {
    // SAFETY: the caller's promise, and the layout that `PointerSized` promises.
    let pointer = unsafe { std::mem::transmute_copy::<NonNull<c_void>, T::Pointer>(&raw) };
    ManuallyDrop::new(T::from_pointer(pointer))
}

type AuxSave = unsafe extern "C" fn(*mut raw::RedisModuleIO, c_int);

/// Registers `T` with the server.
///
/// # Safety
/// `ctx` is the live context of the module's load function.
pub(in crate::server) unsafe fn register<T: NativeType>(ctx: *mut raw::RedisModuleCtx) -> bool {
    let Ok(name) = CString::new(T::NAME) else { return false };
    // Nothing, rather than an empty payload, can be written from 7.2 on.
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
    // SAFETY: the name and the methods outlive the call, which copies them.
    let handle = unsafe {
        call!(RedisModule_CreateDataType(ctx, name.as_ptr(), c_int::from(T::ENCODING), &raw mut methods))
    };
    T::HANDLE.0.store(handle, Ordering::Relaxed);
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).push((handle.addr(), T::NAME));
    !handle.is_null()
}

/// The types that were registered: the address of the handle and the name.
static NAMES: Mutex<Vec<(usize, &str)>> = Mutex::new(Vec::new());

/// The name of a type of this module; none for others' types.
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
    catch_unwind(AssertUnwindSafe(|| f(&value))).ok()
}

unsafe extern "C" fn rdb_load<T: NativeType>(io: *mut raw::RedisModuleIO, encoding: c_int) -> *mut c_void {
    let mut len = 0;
    // SAFETY: `io` is live; the buffer returned is ours to free.
    let buffer = unsafe { call!(RedisModule_LoadStringBuffer(io, &raw mut len)) };
    if buffer.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: the server runs this on its main thread.
    let main = unsafe { MainThread::new() };
    let loaded = catch_unwind(|| {
        // SAFETY: `buffer` holds `len` bytes.
        let payload = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), len) };
        let encoding = u16::try_from(encoding).map_err(|_| "unknown encoding".to_owned())?;
        let value = T::load(main, encoding, payload)?;
        // SAFETY: `io` is live.
        if let Some((database, name)) = unsafe { place_of(io) } {
            value.loaded(main, database, name.bytes());
        }
        Ok::<T, String>(value)
    });
    // SAFETY: ours, and not used afterwards.
    unsafe { call!(RedisModule_Free(buffer.cast())) };
    match loaded {
        Ok(Ok(value)) => into_raw(value),
        Ok(Err(reason)) => {
            // SAFETY: a null context is allowed.
            unsafe {
                log::write(
                    std::ptr::null_mut(),
                    log::LogLevel::Warning,
                    &format!("floodgate: refused a {} payload: {reason}", T::NAME),
                );
            }
            std::ptr::null_mut()
        }
        Err(_) => std::ptr::null_mut(),
    }
}

/// Which key is being loaded. A server that does not tell the database (before
/// 7.0) most often means the first.
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

/// Writes a payload into an RDB file, which may be an empty one.
///
/// Redis 6.2 looks whether a short string is a number, and reads on until a byte
/// that is no digit, whatever its length: it gets one.
///
/// # Safety
/// `io` is live.
unsafe fn save_bytes(io: *mut raw::RedisModuleIO, mut payload: Vec<u8>) {
    let len = payload.len();
    payload.push(0);
    // SAFETY: the caller's promise; the buffer outlives the call.
    unsafe { call!(RedisModule_SaveStringBuffer(io, payload.as_ptr().cast(), len)) }
}

/// With `ALWAYS` an empty payload stands for nothing.
unsafe extern "C" fn aux_save<T: NativeType, const ALWAYS: bool>(io: *mut raw::RedisModuleIO, _: c_int) {
    let Some(beside) = T::BESIDE else { return };
    // SAFETY: the server runs this on its main thread or in a forked child of it.
    let main = unsafe { MainThread::new() };
    let payload = catch_unwind(|| (beside.save)(main)).unwrap_or_default();
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
    let mut len = 0;
    // SAFETY: `io` is live; the buffer returned is ours to free.
    let buffer = unsafe { call!(RedisModule_LoadStringBuffer(io, &raw mut len)) };
    if buffer.is_null() {
        return constant(raw::REDISMODULE_ERR);
    }
    // SAFETY: the server runs this on its main thread.
    let main = unsafe { MainThread::new() };
    let loaded = catch_unwind(|| {
        // SAFETY: `buffer` holds `len` bytes.
        let payload = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), len) };
        match T::BESIDE {
            _ if payload.is_empty() => Ok(()),
            Some(beside) if encoding == c_int::from(T::ENCODING) => (beside.load)(main, payload),
            _ => Err("unknown encoding".to_owned()),
        }
    });
    // SAFETY: ours, and not used afterwards.
    unsafe { call!(RedisModule_Free(buffer.cast())) };
    match loaded {
        Ok(Ok(())) => constant(raw::REDISMODULE_OK),
        Ok(Err(reason)) => {
            let text = format!("floodgate: refused the data stored beside keys of {}: {reason}", T::NAME);
            // SAFETY: a null context is allowed.
            unsafe { log::write(std::ptr::null_mut(), log::LogLevel::Warning, &text) };
            constant(raw::REDISMODULE_ERR)
        }
        Err(_) => constant(raw::REDISMODULE_ERR),
    }
}

/// The state beside the keys, whichever type has it, for the AOF.
static AUX: OnceLock<AuxData> = OnceLock::new();

/// The process that has written that state into an AOF: each rewrite is a child, which
/// writes it once, before the first key of ours.
static AUX_WRITTEN_BY: AtomicU32 = AtomicU32::new(0);

/// # Safety
/// `io` is live, in a forked child of the server's main thread.
unsafe fn rewrite_aux(io: *mut raw::RedisModuleIO) {
    let process = std::process::id();
    let Some(aux) = AUX.get().filter(|_| AUX_WRITTEN_BY.swap(process, Ordering::Relaxed) != process) else {
        return;
    };
    // SAFETY: the caller's promise.
    let payload = catch_unwind(|| (aux.save)(unsafe { MainThread::new() })).unwrap_or_default();
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
    // SAFETY: the server calls it in a forked child, with what it promises.
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

/// May run on a background thread (UNLINK, FLUSHALL ASYNC): touches nothing but
/// the value.
unsafe extern "C" fn free<T: NativeType>(value: *mut c_void) {
    if let Some(raw) = NonNull::new(value) {
        // SAFETY: the server gives the value up, and `NativeType` is `Send`.
        let value = unsafe { from_raw::<T>(raw) };
        drop(catch_unwind(AssertUnwindSafe(|| drop(ManuallyDrop::into_inner(value)))));
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

/// A key loses its value, whatever the command: deleted, expired, evicted,
/// renamed, overwritten. Before 7.0 the server does not tell the database.
unsafe extern "C" fn unlink(name: *mut raw::RedisModuleString, _: *const c_void) {
    // SAFETY: the server passes a live name, on its main thread.
    unsafe { keyspace::value_left(MainThread::new(), name, || None) }
}

unsafe extern "C" fn unlink2(ctx: *mut raw::RedisModuleKeyOptCtx, _: *const c_void) {
    // SAFETY: the server passes a live context, on its main thread.
    unsafe {
        let name = call!(RedisModule_GetKeyNameFromOptCtx(ctx)).cast_mut();
        keyspace::value_left(MainThread::new(), name, || Some(call!(RedisModule_GetDbIdFromOptCtx(ctx))));
    }
}

/// Moves the value's own allocation; what that points to stays.
unsafe extern "C" fn defrag(
    ctx: *mut raw::RedisModuleDefragCtx,
    _: *mut raw::RedisModuleString,
    value: *mut *mut c_void,
) -> c_int {
    const TAG: usize = 0b111;
    // SAFETY: `value` points to a stored pointer whose low bits are its tag
    // (`PointerSized`); DefragAlloc copies the bytes and frees the old block.
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
