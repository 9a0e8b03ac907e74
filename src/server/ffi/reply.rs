//! Replies, written straight to the client.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there};
use std::ffi::CString;

/// Starts a map of `pairs` name-value pairs (a flat array for RESP2 clients).
/// The values follow, in order, by the other functions here.
pub fn map(ctx: &Context<'_>, pairs: usize) {
    // SAFETY: the context is live. Before 7.0 there is no map: a flat array.
    unsafe {
        if call_if_there!(RedisModule_ReplyWithMap(ctx.raw(), long(pairs))).is_none() {
            call!(RedisModule_ReplyWithArray(ctx.raw(), long(pairs.saturating_mul(2))));
        }
    }
}

/// Starts an array of `items`, which follow.
pub fn array(ctx: &Context<'_>, items: usize) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithArray(ctx.raw(), long(items)));
    }
}

/// An integer.
pub fn integer(ctx: &Context<'_>, n: i64) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithLongLong(ctx.raw(), n));
    }
}

/// A bulk string, any bytes.
pub fn bytes(ctx: &Context<'_>, bytes: &[u8]) {
    // SAFETY: the context is live and the buffer is copied.
    unsafe {
        call!(RedisModule_ReplyWithStringBuffer(ctx.raw(), bytes.as_ptr().cast(), bytes.len()));
    }
}

/// A bulk string.
pub fn text(ctx: &Context<'_>, text: &str) {
    bytes(ctx, text.as_bytes());
}

/// The simple string `OK`.
pub fn ok(ctx: &Context<'_>) {
    // SAFETY: the context is live and the text a C string.
    unsafe {
        call!(RedisModule_ReplyWithSimpleString(ctx.raw(), c"OK".as_ptr()));
    }
}

/// Null.
pub fn null(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplyWithNull(ctx.raw()));
    }
}

/// A boolean: itself in RESP3, 1 or 0 elsewhere.
pub fn boolean(ctx: &Context<'_>, value: bool) {
    // SAFETY: the context is live.
    unsafe {
        if call_if_there!(RedisModule_ReplyWithBool(ctx.raw(), value.into())).is_none() {
            call!(RedisModule_ReplyWithLongLong(ctx.raw(), value.into()));
        }
    }
}

/// An error; `text` starts with its code (`ERR …`). Whatever it holds, the
/// client gets one line of printable ASCII.
pub fn error(ctx: &Context<'_>, text: &str) {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let clean = CString::new(clean).unwrap_or_default();
    // SAFETY: the context is live and the text a C string.
    unsafe {
        call!(RedisModule_ReplyWithError(ctx.raw(), clean.as_ptr()));
    }
}

/// The server's own error for a wrong number of arguments.
pub fn wrong_arity(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_WrongArity(ctx.raw()));
    }
}

fn long(n: usize) -> std::ffi::c_long {
    std::ffi::c_long::try_from(n).unwrap_or(std::ffi::c_long::MAX)
}
