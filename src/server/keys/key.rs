//! A key of the database, open for one command.

use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::fast::prefetch::prefetch;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::keys::data_type;
use crate::server::keys::data_type::NativeType;
use crate::server::keys::keyspace;
use redis_module::raw;
use std::ffi::{CStr, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The key holds something else than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType {
    /// The name of the type that it holds, where that is another of this module's.
    pub holds: Option<&'static str>,
}

/// An open key; closes itself.
///
/// While it is changed no other `Key` of the same name may be open and used
/// afterwards: that one would still know the value where it was.
#[derive(Debug)]
pub struct Key<'c> {
    raw: *mut raw::RedisModuleKey,
    name: Arg<'c>,
    context: &'c Context<'c>,
    module_value: ModuleValue,
}

/// What the server would answer about a key's value of a module's type: asked once
/// when the key is opened, and kept up to date by what changes the key.
#[derive(Clone, Copy, Debug)]
struct ModuleValue {
    /// Null when the key is empty or holds another value.
    kind: *mut raw::RedisModuleType,
    pointer: *mut c_void,
}

impl ModuleValue {
    const NONE: Self = Self { kind: std::ptr::null_mut(), pointer: std::ptr::null_mut() };
}

#[cold]
fn wrong_type(kind: *mut raw::RedisModuleType) -> WrongType {
    WrongType { holds: data_type::name_of(kind) }
}

impl<'c> Key<'c> {
    pub(in crate::server) fn open(context: &'c Context<'c>, name: Arg<'c>, write: bool) -> Self {
        let mode = if write { raw::REDISMODULE_READ | raw::REDISMODULE_WRITE } else { raw::REDISMODULE_READ };
        // SAFETY: the context and the name are live; a null key (read mode only)
        // is what the API functions below take as empty.
        let raw = unsafe { call!(RedisModule_OpenKey(context.raw(), name.raw(), mode.cast_signed())) };
        let raw = raw.cast();
        // SAFETY: the key is open, or null, which both functions take as empty.
        let module_value = unsafe {
            ModuleValue {
                kind: call!(RedisModule_ModuleTypeGetType(raw)),
                pointer: call!(RedisModule_ModuleTypeGetValue(raw)),
            }
        };
        let key = Self { raw, name, context, module_value };
        key.prefetch();
        key
    }

    /// Has the processor fetch the value while the command does something else:
    /// among many keys its first use otherwise waits 110 ns for memory. So open a
    /// key early, and read the clock and the other arguments afterwards.
    #[inline]
    fn prefetch(&self) {
        // A value of 48 bytes often lies across two lines.
        prefetch(PrefetchHint { start: self.module_value.pointer.cast(), bytes: 48 });
    }

    /// The value, or `None` when there is no key.
    ///
    /// # Errors
    /// [`WrongType`] when the key holds another type.
    #[inline]
    pub fn value<T: NativeType>(&mut self) -> Result<Option<ValueGuard<'_, T>>, WrongType> {
        let ModuleValue { kind, pointer } = self.module_value;
        if kind.is_null() || kind != T::HANDLE.raw() {
            return if self.is_missing() { Ok(None) } else { Err(wrong_type(kind)) };
        }
        let pointer = NonNull::new(pointer).ok_or(WrongType { holds: None })?;
        // SAFETY: a value of our type is a pointer from `into_raw`, and the key's
        // own while it is open.
        let value = unsafe { data_type::from_raw(pointer) };
        Ok(Some(ValueGuard { value, pointer, key: self.raw, known: &mut self.module_value.pointer }))
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

    /// Puts `value` in the key, in place of whatever it held; its expiry goes.
    pub fn create<T: NativeType>(&mut self, value: T) {
        let (kind, pointer) = (T::HANDLE.raw(), data_type::into_raw(value));
        // SAFETY: the key is open for writing; the server takes the value over.
        unsafe {
            call!(RedisModule_ModuleTypeSetValue(self.raw, kind, pointer));
        }
        self.module_value = ModuleValue { kind, pointer };
    }

    /// Removes the key.
    pub fn delete(&mut self) {
        // SAFETY: the key is open for writing.
        unsafe {
            call!(RedisModule_DeleteKey(self.raw));
        }
        self.module_value = ModuleValue::NONE;
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

    /// Tells WATCH and client tracking that the key changed, and the keyspace
    /// listeners what happened. Call once for a command that changed it.
    pub fn changed(&self, event: &CStr) {
        // SAFETY: the context and the name are live.
        unsafe {
            call!(RedisModule_SignalModifiedKey(self.context.raw(), self.name.raw()));
        }
        self.notify(event);
        keyspace::value_changed(self.context, self.name);
    }

    /// As [`Key::changed`], where the command left nothing of the key: listeners
    /// then hear `del` as well, as after the server's own commands.
    pub fn emptied(&self, event: &CStr) {
        self.changed(event);
        self.publish(raw::REDISMODULE_NOTIFY_GENERIC, c"del");
    }

    /// Tells the keyspace listeners of the module class what happened.
    pub fn notify(&self, event: &CStr) {
        self.publish(raw::REDISMODULE_NOTIFY_MODULE, event);
    }

    fn publish(&self, class: c_int, event: &CStr) {
        // SAFETY: the context, the event and the name are live.
        unsafe {
            call!(RedisModule_NotifyKeyspaceEvent(
                self.context.raw(),
                class,
                event.as_ptr(),
                self.name.raw()
            ));
        }
    }

    /// Its name.
    pub const fn name(&self) -> Arg<'c> {
        self.name
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: open, ours, and not used afterwards.
            unsafe { call!(RedisModule_CloseKey(self.raw)) }
        }
    }
}

impl Context<'_> {
    /// Opens a key to look at it.
    pub fn read<'k>(&'k self, name: Arg<'k>) -> Key<'k> {
        Key::open(self, name, false)
    }

    /// Opens a key to change it.
    pub fn write<'k>(&'k self, name: Arg<'k>) -> Key<'k> {
        Key::open(self, name, true)
    }
}

/// The value of an open key, read or changed in place.
///
/// A value may swap its own allocation while it changes (it grows into another
/// shape); the key learns its new pointer when this is dropped.
pub struct ValueGuard<'k, T: NativeType> {
    value: ManuallyDrop<T>,
    pointer: NonNull<c_void>,
    key: *mut raw::RedisModuleKey,
    /// What the open key takes for its pointer.
    known: &'k mut *mut c_void,
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

impl<T: NativeType> DerefMut for ValueGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: NativeType> Drop for ValueGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the value stays owned by the key: under its old pointer, or
        // under the new one, in which case the old allocation is gone already
        // and the server must not free it.
        unsafe {
            let now = data_type::into_raw(ManuallyDrop::take(&mut self.value));
            if now != self.pointer.as_ptr() {
                let mut old = std::ptr::null_mut();
                call!(RedisModule_ModuleTypeReplaceValue(self.key, T::HANDLE.raw(), now, &raw mut old));
                *self.known = now;
            }
        }
    }
}
