//! A key of the database that is open for one command.

use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::ffi::log;
use crate::server::keys::data_type;
use crate::server::keys::data_type::NativeType;
use crate::server::keys::modified;
use crate::server::keys::{keyspace, notifications};
use crate::server::{main_thread, other_modules};
use redis_module::raw;
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The error of a key that holds another type than the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The name of the type that it holds, if that is another type of this module.
    pub holds: Option<&'static str>,
}

/// A key that is open for reading. It is closed when dropped.
///
/// The server's handle caches the place of the value. So while a key is open, nobody may change it
/// except through its own [`Key`]. This holds because no function of the server is called meanwhile
/// that lets other modules run. Opening further keys is the exception, and these have been settled
/// by [`Context::settle_keys`] before.
#[derive(Debug)]
pub struct ReadKey<'c> {
    raw: *mut raw::RedisModuleKey,
    /// The value, so that the server is asked for it once.
    held: Held,
    /// True once WATCH and client tracking must be told that the key changed.
    is_changed: Cell<bool>,
    name: Arg<'c>,
    context: &'c Context<'c>,
}

/// A value of a module's type; both are null if the key has none.
#[derive(Clone, Copy, Debug)]
struct Held {
    kind: *mut raw::RedisModuleType,
    value: *mut c_void,
}

impl Held {
    const NOTHING: Self = Self { kind: std::ptr::null_mut(), value: std::ptr::null_mut() };
}

/// A key that is open for writing.
#[derive(Debug)]
pub struct Key<'c>(ReadKey<'c>);

impl<'c> Deref for Key<'c> {
    type Target = ReadKey<'c>;
    #[inline]
    fn deref(&self) -> &ReadKey<'c> {
        &self.0
    }
}

#[cold]
fn wrong_type(kind: *mut raw::RedisModuleType) -> WrongType {
    WrongType { holds: data_type::name_of(kind) }
}

impl<'c> ReadKey<'c> {
    fn open(context: &'c Context<'c>, name: Arg<'c>, mode: u32) -> Self {
        main_thread::assert_may_open(0);
        // SAFETY: the context and the name are live. A key that is missing gives null (in read mode
        // only), which the API functions below take as empty.
        let raw = unsafe { call!(RedisModule_OpenKey(context.raw(), name.raw(), mode.cast_signed())) };
        main_thread::opened();
        let raw = raw.cast();
        // SAFETY: the key is open, or null, which both functions take as empty.
        let kind = unsafe { call!(RedisModule_ModuleTypeGetType(raw)) };
        let held = if kind.is_null() {
            Held::NOTHING
        } else {
            // SAFETY: as above.
            let value = unsafe { call!(RedisModule_ModuleTypeGetValue(raw)) };
            // With many keys the first use of a value waits 110 ns for memory, unless the fetch
            // overlaps with other work. So open a key early, and read the clock and the other
            // arguments afterwards. A value of 48 bytes often lies across two cache lines.
            prefetch(PrefetchHint { start: value.cast(), bytes: 48 });
            Held { kind, value }
        };
        Self { raw, held, is_changed: Cell::new(false), name, context }
    }

    /// Returns the address of the value, or `None` if there is no key.
    #[inline]
    fn pointer<T: NativeType>(&self) -> Result<Option<NonNull<c_void>>, WrongType> {
        let Held { kind, value } = self.held;
        if kind.is_null() || kind != T::HANDLE.raw() {
            return if self.is_missing() { Ok(None) } else { Err(wrong_type(kind)) };
        }
        NonNull::new(value).ok_or(WrongType { holds: None }).map(Some)
    }

    /// The value, or `None` if there is no key.
    ///
    /// # Errors
    /// [`WrongType`] if the key holds another type.
    #[inline]
    pub fn value<T: NativeType>(&self) -> Result<Option<ValueGuard<'_, T>>, WrongType> {
        let Some(pointer) = self.pointer::<T>()? else { return Ok(None) };
        // SAFETY: a value of our type is a pointer from `into_raw`. It stays the key's own, and
        // nobody changes it while `self` is borrowed.
        let value = unsafe { data_type::from_raw(pointer) };
        Ok(Some(ValueGuard { value, pointer, key: PhantomData }))
    }

    /// The bytes of a plain string, or `None` if the key is missing or holds another type.
    pub fn string(&self) -> Option<&[u8]> {
        if self.raw.is_null() {
            return None;
        }
        let mut len = 0;
        // SAFETY: the key is open and holds a string; the buffer is valid until it is written or closed.
        unsafe {
            if call!(RedisModule_KeyType(self.raw)) != constant(raw::REDISMODULE_KEYTYPE_STRING) {
                return None;
            }
            let start =
                call!(RedisModule_StringDMA(self.raw, &raw mut len, raw::REDISMODULE_READ.cast_signed()));
            Some(if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast::<u8>(), len) })
        }
    }

    /// True if there is no key of this name.
    pub fn is_missing(&self) -> bool {
        // SAFETY: a null key counts as empty.
        unsafe { call!(RedisModule_KeyType(self.raw)) == constant(raw::REDISMODULE_KEYTYPE_EMPTY) }
    }

    /// The time at which the key expires, in microseconds since 1970, if it does.
    pub fn expiry(&self) -> Option<Micros> {
        // SAFETY: the key is open.
        let at = unsafe {
            call_if_there!(RedisModule_GetAbsExpire(self.raw)).or_else(|| {
                // Early versions of 6.2 and 7.0 lack the absolute form.
                let left = call!(RedisModule_GetExpire(self.raw));
                (left >= 0).then(|| left.saturating_add(self.context.wall_millis()))
            })
        };
        at.and_then(|ms| u64::try_from(ms).ok()).map(|ms| Micros(ms.saturating_mul(1000)))
    }

    /// True if the key expires at `at`, rounded up to a millisecond as [`Key::expire_at`] does.
    /// `None` asks whether it never expires.
    pub fn expires_at(&self, at: Option<Micros>) -> bool {
        self.expiry().map(Micros::ceil_millis) == at.map(Micros::ceil_millis)
    }

    /// The name of the key.
    pub const fn name(&self) -> Arg<'c> {
        self.name
    }
}

impl<'c> Key<'c> {
    /// The value for changing it, or `None` if there is no key.
    ///
    /// # Errors
    /// [`WrongType`] if the key holds another type.
    #[inline]
    pub fn value_mut<T: NativeType>(&mut self) -> Result<Option<ValueGuardMut<'_, T>>, WrongType> {
        let Some(pointer) = self.pointer::<T>()? else { return Ok(None) };
        // SAFETY: a value of our type is a pointer from `into_raw`, and the key's own while it is
        // open.
        let value = unsafe { data_type::from_raw(pointer) };
        Ok(Some(ValueGuardMut { value, pointer, key: self.0.raw, held: &mut self.0.held }))
    }

    /// Puts `value` into the key, in place of what it held. The key's expiry is removed.
    pub fn create<T: NativeType>(&mut self, value: T) {
        let (kind, pointer) = (T::HANDLE.raw(), data_type::into_raw(value));
        main_thread::assert_may_open(1);
        // SAFETY: the key is open for writing; the server takes the value over.
        unsafe {
            call!(RedisModule_ModuleTypeSetValue(self.raw, kind, pointer));
        }
        self.0.held = Held { kind, value: pointer };
    }

    /// Deletes the key.
    pub fn delete(&mut self) {
        main_thread::assert_may_open(1);
        // SAFETY: the key is open for writing.
        unsafe {
            call!(RedisModule_DeleteKey(self.raw));
        }
        self.0.held = Held::NOTHING;
    }

    /// Makes the key expire at `at`, rounded up to a millisecond; never if `at` is `None`.
    pub fn expire_at(&mut self, at: Option<Micros>) {
        let no_expiry = i64::from(raw::REDISMODULE_NO_EXPIRE);
        let at = at.map_or(no_expiry, |at| i64::try_from(at.ceil_millis()).unwrap_or(i64::MAX));
        // SAFETY: the key is open for writing.
        unsafe {
            if call_if_there!(RedisModule_SetAbsExpire(self.raw, at)).is_none() {
                let left = if at == no_expiry { at } else { (at - self.context.wall_millis()).max(1) };
                call!(RedisModule_SetExpire(self.raw, left));
            }
        }
    }

    /// Notes `event` for keyspace listeners. WATCH and client tracking learn that the key changed
    /// when it is closed. Call it once in a command that changed the key.
    pub fn changed(&self, event: &'static CStr) {
        self.is_changed.set(true);
        self.notify(event);
        keyspace::value_changed(self.context, self.name);
    }

    /// The same as [`Key::changed`], for a command that deleted the key. Listeners then get `del`
    /// as well, as after the server's own commands.
    pub fn emptied(&self, event: &'static CStr) {
        self.changed(event);
        notifications::note(self.context, raw::REDISMODULE_NOTIFY_GENERIC, c"del", self.name);
    }

    /// Notes `event` for keyspace listeners of the module class. They are notified when the command
    /// ends.
    pub fn notify(&self, event: &'static CStr) {
        notifications::note(self.context, raw::REDISMODULE_NOTIFY_MODULE, event, self.name);
    }
}

impl Drop for ReadKey<'_> {
    fn drop(&mut self) {
        main_thread::closed();
        if self.raw.is_null() {
            return;
        }
        // SAFETY: the key is open, ours, and not used afterwards.
        unsafe {
            if self.is_changed.get() {
                modified::close(self.context, self.raw);
            } else {
                call!(RedisModule_CloseKey(self.raw));
            }
        }
    }
}

/// The mode in which [`Context::look`] opens a key.
fn look_mode(ctx: &Context<'_>) -> u32 {
    const UNSEEN: u32 = raw::REDISMODULE_OPEN_KEY_NOTOUCH
        | raw::REDISMODULE_OPEN_KEY_NOSTATS
        | raw::REDISMODULE_OPEN_KEY_NONOTIFY;
    let read = raw::REDISMODULE_READ;
    // SAFETY: takes no arguments.
    match unsafe { call_if_there!(RedisModule_GetOpenKeyModesAll()) } {
        Some(known) => read | UNSEEN & known.cast_unsigned(),
        // Before 7.2 the server knows only the first of the modes. It counts no hit for a key that is
        // open for writing. On a master this mode differs in nothing else, as nothing is written.
        None if ctx.flags().master() => read | raw::REDISMODULE_WRITE | raw::REDISMODULE_OPEN_KEY_NOTOUCH,
        None => read | raw::REDISMODULE_OPEN_KEY_NOTOUCH,
    }
}

impl Context<'_> {
    /// Opens a key for reading.
    pub fn read<'k>(&'k self, name: Arg<'k>) -> ReadKey<'k> {
        ReadKey::open(self, name, raw::REDISMODULE_READ)
    }

    /// Opens a key for reading without using it: for scans, lists, and what the module itself looks at.
    /// The key's idle time goes on, and no hit and no miss is counted.
    pub fn look<'k>(&'k self, name: Arg<'k>) -> ReadKey<'k> {
        ReadKey::open(self, name, look_mode(self))
    }

    /// Opens a key for writing. A key that has expired is deleted by this, and listeners are
    /// notified.
    pub fn write<'k>(&'k self, name: Arg<'k>) -> Key<'k> {
        Key(ReadKey::open(self, name, raw::REDISMODULE_READ | raw::REDISMODULE_WRITE))
    }

    /// Settles the keys of a command that opens several at a time. Call it before the first is
    /// opened.
    ///
    /// Opening a key that has expired deletes it, and the server notifies other modules at once. If
    /// there are other modules, each key is opened and closed here, so that whatever they do
    /// happens before the command. Later openings ([`Context::write`]) delete nothing, because the
    /// server's time stands still during a command.
    pub fn settle_keys<'k>(&'k self, names: impl IntoIterator<Item = Arg<'k>>) {
        if other_modules::are_loaded(self) {
            names.into_iter().for_each(|name| drop(self.write(name)));
        }
        main_thread::keys_are_settled();
    }
}

/// The value of an open key, for reading.
pub struct ValueGuard<'k, T: NativeType> {
    value: ManuallyDrop<T>,
    pointer: NonNull<c_void>,
    key: PhantomData<&'k T>,
}

impl<T: NativeType> ValueGuard<'_, T> {
    /// The address of the value. It is the same however often the key is open, and differs from
    /// that of every other key.
    pub const fn address(&self) -> NonNull<c_void> {
        self.pointer
    }
}

impl<T: NativeType> Deref for ValueGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The value of an open key, for changing it in place.
///
/// A value may replace its own allocation while it changes, when it grows into another shape. The
/// server gets the new pointer when this guard is dropped.
pub struct ValueGuardMut<'k, T: NativeType> {
    value: ManuallyDrop<T>,
    pointer: NonNull<c_void>,
    key: *mut raw::RedisModuleKey,
    held: &'k mut Held,
}

impl<T: NativeType> Deref for ValueGuardMut<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: NativeType> DerefMut for ValueGuardMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: NativeType> Drop for ValueGuardMut<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the key still owns the value, under its old or its new pointer. If the pointer is
        // new, the old allocation is already freed, and the server must not free it again.
        unsafe {
            let now = data_type::into_raw(ManuallyDrop::take(&mut self.value));
            if now != self.pointer.as_ptr() {
                let mut old = std::ptr::null_mut();
                let status =
                    call!(RedisModule_ModuleTypeReplaceValue(self.key, T::HANDLE.raw(), now, &raw mut old));
                if status != constant(raw::REDISMODULE_OK) {
                    // This cannot happen, because the key is open for writing and holds our type.
                    // If it did, the server would go on with a value that is freed.
                    log::line(
                        log::LogLevel::Warning,
                        "the server did not store a value's new address, so it must stop",
                    );
                    std::process::abort();
                }
                self.held.value = now;
            }
        }
    }
}
