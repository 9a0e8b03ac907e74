//! A key of the database, open for one command.

use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::ffi::log;
use crate::server::keys::data_type;
use crate::server::keys::data_type::NativeType;
use crate::server::keys::{keyspace, notifications};
use crate::server::{main_thread, neighbours};
use redis_module::raw;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The key holds something else than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The name of the type that it holds, where that is another of this module's.
    pub holds: Option<&'static str>,
}

/// A key that is open to be looked at; closes itself.
///
/// The server's own handle knows where the value lies, so nobody may change the key
/// meanwhile but through its [`Key`]. Nobody does: while a key is open nothing is
/// called that lets other modules run, but for the opening of further keys that
/// [`Context::settle_keys`] has seen before.
#[derive(Debug)]
pub struct ReadKey<'c> {
    raw: *mut raw::RedisModuleKey,
    name: Arg<'c>,
    context: &'c Context<'c>,
}

/// A key that is open to be changed.
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
        // SAFETY: the context and the name are live; a null key (read mode only)
        // is what the API functions below take as empty.
        let raw = unsafe { call!(RedisModule_OpenKey(context.raw(), name.raw(), mode.cast_signed())) };
        main_thread::opened();
        let key = Self { raw: raw.cast(), name, context };
        key.prefetch();
        key
    }

    /// Has the processor fetch the value while the command does something else:
    /// among many keys its first use otherwise waits 110 ns for memory. So open a
    /// key early, and read the clock and the other arguments afterwards.
    #[inline]
    fn prefetch(&self) {
        // SAFETY: the key is open, or null, which counts as empty.
        let start = unsafe { call!(RedisModule_ModuleTypeGetValue(self.raw)) };
        // A value of 48 bytes often lies across two lines.
        prefetch(PrefetchHint { start: start.cast(), bytes: 48 });
    }

    /// Where the value lies, or `None` when there is no key.
    #[inline]
    fn pointer<T: NativeType>(&self) -> Result<Option<NonNull<c_void>>, WrongType> {
        // SAFETY: the key is open, or null, which both functions take as empty.
        let (kind, pointer) = unsafe {
            (call!(RedisModule_ModuleTypeGetType(self.raw)), call!(RedisModule_ModuleTypeGetValue(self.raw)))
        };
        if kind.is_null() || kind != T::HANDLE.raw() {
            return if self.is_missing() { Ok(None) } else { Err(wrong_type(kind)) };
        }
        NonNull::new(pointer).ok_or(WrongType { holds: None }).map(Some)
    }

    /// The value, or `None` when there is no key.
    ///
    /// # Errors
    /// [`WrongType`] when the key holds another type.
    #[inline]
    pub fn value<T: NativeType>(&self) -> Result<Option<ValueGuard<'_, T>>, WrongType> {
        let Some(pointer) = self.pointer::<T>()? else { return Ok(None) };
        // SAFETY: a value of our type is a pointer from `into_raw`; it stays the
        // key's own, and nobody changes it while `self` is borrowed.
        let value = unsafe { data_type::from_raw(pointer) };
        Ok(Some(ValueGuard { value, pointer, key: PhantomData }))
    }

    /// The bytes of a plain string, or `None` when the key is missing or holds
    /// another type.
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

    /// True when there is no key of this name.
    pub fn is_missing(&self) -> bool {
        // SAFETY: a null key counts as empty.
        unsafe { call!(RedisModule_KeyType(self.raw)) == constant(raw::REDISMODULE_KEYTYPE_EMPTY) }
    }

    /// When the key expires, if it does.
    pub fn expiry(&self) -> Option<Micros> {
        // SAFETY: the key is open.
        let at = unsafe {
            call_if_there!(RedisModule_GetAbsExpire(self.raw)).or_else(|| {
                // The first 6.2 and 7.0 lack the absolute form.
                let left = call!(RedisModule_GetExpire(self.raw));
                (left >= 0).then(|| left.saturating_add(self.context.wall_millis()))
            })
        };
        at.and_then(|ms| u64::try_from(ms).ok()).map(|ms| Micros(ms.saturating_mul(1000)))
    }

    /// Whether the key expires at `at`, rounded up to a millisecond as
    /// [`Key::expire_at`] does, or never.
    pub fn expires_at(&self, at: Option<Micros>) -> bool {
        self.expiry().map(Micros::ceil_millis) == at.map(Micros::ceil_millis)
    }

    /// Its name.
    pub const fn name(&self) -> Arg<'c> {
        self.name
    }
}

impl<'c> Key<'c> {
    /// The value to be changed, or `None` when there is no key.
    ///
    /// # Errors
    /// [`WrongType`] when the key holds another type.
    #[inline]
    pub fn value_mut<T: NativeType>(&mut self) -> Result<Option<ValueGuardMut<'_, T>>, WrongType> {
        let Some(pointer) = self.pointer::<T>()? else { return Ok(None) };
        // SAFETY: a value of our type is a pointer from `into_raw`, and the key's
        // own while it is open.
        let value = unsafe { data_type::from_raw(pointer) };
        Ok(Some(ValueGuardMut { value, pointer, key: self.raw, borrow: PhantomData }))
    }

    /// Puts `value` in the key, in place of whatever it held; its expiry goes.
    pub fn create<T: NativeType>(&mut self, value: T) {
        let (kind, pointer) = (T::HANDLE.raw(), data_type::into_raw(value));
        main_thread::assert_may_open(1);
        // SAFETY: the key is open for writing; the server takes the value over.
        unsafe {
            call!(RedisModule_ModuleTypeSetValue(self.raw, kind, pointer));
        }
    }

    /// Removes the key.
    pub fn delete(&mut self) {
        main_thread::assert_may_open(1);
        // SAFETY: the key is open for writing.
        unsafe {
            call!(RedisModule_DeleteKey(self.raw));
        }
    }

    /// Lets the key expire at `at`, rounded up to a millisecond, or never.
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

    /// Tells WATCH and client tracking that the key changed, and notes for the
    /// keyspace listeners what happened. Call once for a command that changed it.
    pub fn changed(&self, event: &'static CStr) {
        // SAFETY: the context and the name are live.
        unsafe {
            call!(RedisModule_SignalModifiedKey(self.context.raw(), self.name.raw()));
        }
        self.notify(event);
        keyspace::value_changed(self.context, self.name);
    }

    /// As [`Key::changed`], where the command left nothing of the key: listeners
    /// then hear `del` as well, as after the server's own commands.
    pub fn emptied(&self, event: &'static CStr) {
        self.changed(event);
        notifications::note(self.context, raw::REDISMODULE_NOTIFY_GENERIC, c"del", self.name);
    }

    /// Notes for the keyspace listeners of the module class what happened. They are
    /// told when the command is done.
    pub fn notify(&self, event: &'static CStr) {
        notifications::note(self.context, raw::REDISMODULE_NOTIFY_MODULE, event, self.name);
    }
}

impl Drop for ReadKey<'_> {
    fn drop(&mut self) {
        main_thread::closed();
        if !self.raw.is_null() {
            // SAFETY: open, ours, and not used afterwards.
            unsafe { call!(RedisModule_CloseKey(self.raw)) }
        }
    }
}

impl Context<'_> {
    /// Opens a key to look at it.
    pub fn read<'k>(&'k self, name: Arg<'k>) -> ReadKey<'k> {
        ReadKey::open(self, name, raw::REDISMODULE_READ)
    }

    /// Opens a key to change it.
    pub fn write<'k>(&'k self, name: Arg<'k>) -> Key<'k> {
        Key(ReadKey::open(self, name, raw::REDISMODULE_READ | raw::REDISMODULE_WRITE))
    }

    /// Begins a command on several keys: a key that has expired is deleted when it is
    /// opened, and other modules are told at once. Where there are any, each key is
    /// opened and closed first, so that whatever they do then comes before the command.
    /// Later openings tell nothing ([`Context::write`]): the server's time stands still.
    pub fn settle_keys<'k>(&'k self, names: impl IntoIterator<Item = Arg<'k>>) {
        if neighbours::are_there(self) {
            names.into_iter().for_each(|name| drop(self.write(name)));
        }
        main_thread::keys_are_settled();
    }
}

/// The value of an open key.
pub struct ValueGuard<'k, T: NativeType> {
    value: ManuallyDrop<T>,
    pointer: NonNull<c_void>,
    key: PhantomData<&'k T>,
}

impl<T: NativeType> ValueGuard<'_, T> {
    /// Where the value lies: the same for one key however often it is open, and
    /// another for every other key.
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

/// The value of an open key, changed in place.
///
/// A value may swap its own allocation while it changes (it grows into another
/// shape); the server learns its new pointer when this is dropped.
pub struct ValueGuardMut<'k, T: NativeType> {
    value: ManuallyDrop<T>,
    pointer: NonNull<c_void>,
    /// Borrowed for `'k`.
    key: *mut raw::RedisModuleKey,
    borrow: PhantomData<&'k mut T>,
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
        // SAFETY: the value stays owned by the key: under its old pointer, or
        // under the new one, in which case the old allocation is gone already
        // and the server must not free it.
        unsafe {
            let now = data_type::into_raw(ManuallyDrop::take(&mut self.value));
            if now != self.pointer.as_ptr() {
                let mut old = std::ptr::null_mut();
                let status =
                    call!(RedisModule_ModuleTypeReplaceValue(self.key, T::HANDLE.raw(), now, &raw mut old));
                if status != constant(raw::REDISMODULE_OK) {
                    // The key is open for writing and holds our type: it cannot be. The
                    // server would go on with a value that is gone.
                    log::write(
                        std::ptr::null_mut(),
                        log::LogLevel::Warning,
                        "floodgate: the server did not store a value's new address, so it must stop",
                    );
                    std::process::abort();
                }
            }
        }
    }
}
