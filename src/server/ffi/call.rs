//! Questions to the server itself: SCAN, INFO, CONFIG, and the rights of a user.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use redis_module::raw;
use std::ffi::CStr;

/// A string of the server that belongs to us. Dropping it frees it.
#[derive(Debug)]
pub struct OwnedString<'c> {
    raw: *mut raw::RedisModuleString,
    ctx: &'c Context<'c>,
}

impl<'c> OwnedString<'c> {
    /// Copies `bytes` into a new string of the server.
    pub fn new(ctx: &'c Context<'c>, bytes: &[u8]) -> Self {
        // SAFETY: the context is live and the buffer is copied.
        let raw = unsafe { call!(RedisModule_CreateString(ctx.raw(), bytes.as_ptr().cast(), bytes.len())) };
        Self { raw, ctx }
    }

    /// The string as an argument, for example to open a key.
    pub fn arg(&self) -> Arg<'_> {
        // SAFETY: the string lives as long as `self`.
        unsafe { Arg::from_raw(self.raw) }
    }
}

impl Drop for OwnedString<'_> {
    fn drop(&mut self) {
        // SAFETY: the string is ours, and not used afterwards.
        unsafe { call!(RedisModule_FreeString(self.ctx.raw(), self.raw)) }
    }
}

impl Context<'_> {
    /// The value of a field of INFO, if it is a number.
    pub fn server_number(&self, section: &CStr, field: &CStr) -> Option<u64> {
        self.server_text(section, field)?.parse().ok()
    }

    /// The value of a field of INFO.
    pub fn server_text(&self, section: &CStr, field: &CStr) -> Option<String> {
        // SAFETY: the context is live, the names are C strings, the text is copied before the data
        // is freed.
        unsafe {
            let data = call!(RedisModule_GetServerInfo(self.raw(), section.as_ptr()));
            let text = call!(RedisModule_ServerInfoGetFieldC(data, field.as_ptr()));
            let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
            call!(RedisModule_FreeServerInfo(self.raw(), data));
            text
        }
    }

    /// The value of one of the server's own settings. `None` also if CONFIG is renamed.
    pub fn server_setting(&self, name: &CStr) -> Option<String> {
        // SAFETY: the context is live and the format matches; the reply is freed, and
        // its parts are null past the end.
        unsafe {
            let reply = call!(RedisModule_Call(
                self.raw(),
                c"CONFIG".as_ptr(),
                c"cc".as_ptr(),
                c"GET".as_ptr(),
                name.as_ptr()
            ));
            if reply.is_null() {
                return None;
            }
            let found = call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ARRAY)
                && call!(RedisModule_CallReplyLength(reply)) == 2;
            let text = found.then(|| {
                String::from_utf8_lossy(&text_of(call!(RedisModule_CallReplyArrayElement(reply, 1))))
                    .into_owned()
            });
            call!(RedisModule_FreeCallReply(reply));
            text
        }
    }
}

/// The result of one step of SCAN.
#[derive(Debug)]
pub struct Scanned {
    /// The cursor for the next step; `0` when the scan is complete.
    pub cursor: Vec<u8>,
    /// The names that this step found.
    pub keys: Vec<Vec<u8>>,
}

/// Runs one step of `SCAN cursor MATCH pattern COUNT count`.
///
/// # Errors
/// The server's error text, for example for a bad cursor.
pub fn scan(ctx: &Context<'_>, cursor: &[u8], pattern: Option<&[u8]>, count: u64) -> Result<Scanned, String> {
    let count = count.to_string();
    let mut strings = vec![
        OwnedString::new(ctx, cursor),
        OwnedString::new(ctx, b"COUNT"),
        OwnedString::new(ctx, count.as_bytes()),
    ];
    if let Some(pattern) = pattern {
        strings.push(OwnedString::new(ctx, b"MATCH"));
        strings.push(OwnedString::new(ctx, pattern));
    }
    let mut vector: Vec<_> = strings.iter().map(|string| string.raw).collect();
    // SAFETY: the context is live; the format matches a vector and its length; the reply is freed
    // below and its parts are not used afterwards.
    unsafe {
        let reply = call!(RedisModule_Call(
            ctx.raw(),
            c"SCAN".as_ptr(),
            c"v".as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
        if reply.is_null() {
            return Err("ERR SCAN is not available".to_owned());
        }
        let answer = read_scan(reply);
        call!(RedisModule_FreeCallReply(reply));
        answer
    }
}

/// The text of a reply or of a part of one; empty if it has no text.
///
/// # Safety
/// `part` is null or live.
pub(in crate::server) unsafe fn text_of(part: *mut raw::RedisModuleCallReply) -> Vec<u8> {
    let mut len = 0;
    if part.is_null() {
        return Vec::new();
    }
    // SAFETY: `part` is not null, so the caller promises that it is live.
    let start = unsafe { call!(RedisModule_CallReplyStringPtr(part, &raw mut len)) };
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the buffer holds `len` bytes while the reply lives.
    unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }.to_vec()
}

unsafe fn read_scan(reply: *mut raw::RedisModuleCallReply) -> Result<Scanned, String> {
    // SAFETY: the parts of a reply are live as long as it is, or null.
    let text = |part: *mut raw::RedisModuleCallReply| unsafe { text_of(part) };
    // SAFETY: the reply is live; indices are checked by the API (null past the end).
    unsafe {
        if call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ERROR) {
            return Err(String::from_utf8_lossy(&text(reply)).into_owned());
        }
        let cursor = text(call!(RedisModule_CallReplyArrayElement(reply, 0)));
        let list = call!(RedisModule_CallReplyArrayElement(reply, 1));
        let count = if list.is_null() { 0 } else { call!(RedisModule_CallReplyLength(list)) };
        let keys =
            (0..count).map(|index| text(call!(RedisModule_CallReplyArrayElement(list, index)))).collect();
        Ok(Scanned { cursor, keys })
    }
}

/// Whether the user of this call may read and change `key`. True before 7.0, where the server
/// cannot tell.
pub fn user_may_change(ctx: &Context<'_>, key: Arg<'_>) -> bool {
    user_may(ctx, key, raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE)
}

/// Whether the user of this call may read `key`. True before 7.0, where the server cannot tell.
pub fn user_may_read(ctx: &Context<'_>, key: Arg<'_>) -> bool {
    user_may(ctx, key, raw::REDISMODULE_CMD_KEY_ACCESS)
}

/// The same as [`user_may_read`], for a key of which only the name is known.
pub fn user_may_see(ctx: &Context<'_>, name: &[u8]) -> bool {
    user_may_read(ctx, OwnedString::new(ctx, name).arg())
}

fn user_may(ctx: &Context<'_>, key: Arg<'_>, wanted: u32) -> bool {
    // SAFETY: the context and the key are live; the name and the user are freed.
    unsafe {
        let Some(check) = raw::RedisModule_ACLCheckKeyPermissions else { return true };
        let Some(name) = user_of(ctx) else { return true };
        let user =
            call_if_there!(RedisModule_GetModuleUserFromUserName(name)).unwrap_or(std::ptr::null_mut());
        call!(RedisModule_FreeString(ctx.raw(), name));
        if user.is_null() {
            return true;
        }
        let may = check(user, key.raw(), wanted.cast_signed()) == 0;
        call_if_there!(RedisModule_FreeModuleUser(user));
        may
    }
}

/// The name of the user of this call, for the caller to free. In a script it is the script's user.
///
/// `None` if another module calls in its own name. The server has no user for such a call, and
/// `GetCurrentUserName` would follow a null pointer.
///
/// # Safety
/// The context is live.
unsafe fn user_of(ctx: &Context<'_>) -> Option<*mut raw::RedisModuleString> {
    // SAFETY: the caller's promise; an id that no client has gives null.
    unsafe {
        let id = call!(RedisModule_GetClientId(ctx.raw()));
        let of_client = call_if_there!(RedisModule_GetClientUserNameById(ctx.raw(), id));
        let name = match of_client {
            Some(name) if !name.is_null() => Some(name),
            _ if ctx.flags().script() => call_if_there!(RedisModule_GetCurrentUserName(ctx.raw())),
            _ => None,
        };
        name.filter(|name| !name.is_null())
    }
}

/// Whether this node of a cluster would run a command on `key`: it owns the slot, and the key is
/// not migrating to another node.
pub fn key_is_served_here(ctx: &Context<'_>, key: Arg<'_>) -> bool {
    // SAFETY: the context and the key are live; the reply is freed.
    unsafe {
        let reply = call!(RedisModule_Call(ctx.raw(), c"EXISTS".as_ptr(), c"s".as_ptr(), key.raw()));
        if reply.is_null() {
            return false;
        }
        let error = call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ERROR);
        call!(RedisModule_FreeCallReply(reply));
        !error
    }
}
