//! Questions to the server itself: SCAN, INFO, CONFIG, and the rights of a user.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use redis_module::raw;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;

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
        self.ask(c"CONFIG", c"v", &[b"GET", name.to_bytes()], |reply| {
            if reply.is_array() && reply.len() == 2 { reply.part(1).map(ServerReply::string) } else { None }
        })?
    }

    /// Publishes `message` on `channel`, as PUBLISH does. Servers without this part of the API
    /// publish nothing.
    pub fn publish(&self, channel: &CStr, message: &[u8]) {
        let channel = OwnedString::new(self, channel.to_bytes());
        let message = OwnedString::new(self, message);
        // SAFETY: the context and the strings are live.
        unsafe { call_if_there!(RedisModule_PublishMessage(self.raw(), channel.raw, message.raw)) };
    }

    /// Calls a command with these words, and runs `read` on the reply. `None` if there is no reply,
    /// for example because the command was renamed. `format` is `v`, after modifiers if there are
    /// any.
    pub(in crate::server) fn ask<R>(
        &self,
        command: &CStr,
        format: &CStr,
        words: &[&[u8]],
        read: impl FnOnce(ServerReply<'_>) -> R,
    ) -> Option<R> {
        let strings: Vec<_> = words.iter().map(|word| OwnedString::new(self, word)).collect();
        let mut vector: Vec<_> = strings.iter().map(|string| string.raw).collect();
        // SAFETY: the context is live; the format matches a vector and its length; the reply is
        // freed when `read`, which cannot keep it, has returned.
        unsafe {
            let reply = call!(RedisModule_Call(
                self.raw(),
                command.as_ptr(),
                format.as_ptr(),
                vector.as_mut_ptr(),
                vector.len()
            ));
            let result = read(ServerReply::of(reply)?);
            call!(RedisModule_FreeCallReply(reply));
            Some(result)
        }
    }
}

/// A reply of the server to a command of ours, or a part of one.
#[derive(Clone, Copy)]
pub(in crate::server) struct ServerReply<'r> {
    raw: NonNull<raw::RedisModuleCallReply>,
    live: PhantomData<&'r ()>,
}

impl ServerReply<'_> {
    /// `None` if `raw` is null.
    ///
    /// # Safety
    /// `raw` is null, or live for as long as the result.
    unsafe fn of(raw: *mut raw::RedisModuleCallReply) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, live: PhantomData })
    }

    fn is_of(self, kind: isize) -> bool {
        // SAFETY: the reply is live.
        unsafe { call!(RedisModule_CallReplyType(self.raw.as_ptr())) == constant(kind) }
    }

    /// True for an error.
    pub fn is_error(self) -> bool {
        self.is_of(raw::REDISMODULE_REPLY_ERROR)
    }

    /// True for an array.
    pub fn is_array(self) -> bool {
        self.is_of(raw::REDISMODULE_REPLY_ARRAY)
    }

    /// The number of parts of an array.
    pub fn len(self) -> usize {
        // SAFETY: the reply is live.
        unsafe { call!(RedisModule_CallReplyLength(self.raw.as_ptr())) }
    }

    /// A part of an array; `None` past the end, and for a reply that is no array.
    pub fn part(self, index: usize) -> Option<Self> {
        // SAFETY: the reply is live, and its parts as long; the server checks the index.
        unsafe { Self::of(call!(RedisModule_CallReplyArrayElement(self.raw.as_ptr(), index))) }
    }

    /// The text of a string or an error; empty if it has none.
    pub fn text(self) -> Vec<u8> {
        let mut len = 0;
        // SAFETY: the reply is live, and the buffer holds `len` bytes as long.
        unsafe {
            let start = call!(RedisModule_CallReplyStringPtr(self.raw.as_ptr(), &raw mut len));
            if start.is_null() {
                return Vec::new();
            }
            std::slice::from_raw_parts(start.cast::<u8>(), len).to_vec()
        }
    }

    /// The same as a string. Bytes that are not UTF-8 are replaced.
    pub fn string(self) -> String {
        String::from_utf8_lossy(&self.text()).into_owned()
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
    let mut words = vec![cursor, b"COUNT", count.as_bytes()];
    if let Some(pattern) = pattern {
        words.extend([b"MATCH", pattern]);
    }
    let scanned = ctx.ask(c"SCAN", c"v", &words, |reply| {
        if reply.is_error() {
            return Err(reply.string());
        }
        let text = |part: Option<ServerReply<'_>>| part.map(ServerReply::text).unwrap_or_default();
        let list = reply.part(1);
        let count = list.map_or(0, ServerReply::len);
        let keys = (0..count).map(|index| text(list.and_then(|list| list.part(index)))).collect();
        Ok(Scanned { cursor: text(reply.part(0)), keys })
    });
    scanned.unwrap_or_else(|| Err("ERR SCAN is not available".to_owned()))
}

/// True if the user of this call may read and change `key`. True before 7.0, where the server
/// cannot tell.
pub fn user_may_change(ctx: &Context<'_>, key: Arg<'_>) -> bool {
    user_may(ctx, key, raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE)
}

/// True if the user of this call may read `key`. True before 7.0, where the server cannot tell.
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

/// True if this node of a cluster would run a command on `key`: it owns the slot, and the key is
/// not migrating to another node.
pub fn key_is_served_here(ctx: &Context<'_>, key: Arg<'_>) -> bool {
    ctx.ask(c"EXISTS", c"v", &[key.bytes()], |reply| !reply.is_error()).unwrap_or(false)
}
