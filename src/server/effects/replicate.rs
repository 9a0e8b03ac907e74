//! The one way by which a change reaches replicas and the AOF.

use crate::server::context::Context;
use crate::server::effects::propagation;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::MainThread;
use redis_module::raw;
use std::ffi::CStr;

/// False when it is certain that nobody hears of changes: no replica, no AOF.
/// Then a change is only to be counted, by [`count_only`].
pub fn is_propagated(ctx: &Context<'_>) -> bool {
    !propagation::is_absent(ctx)
}

/// Whether changes are propagated at present, for INFO.
pub fn is_on(main: MainThread) -> bool {
    !propagation::is_known_absent(main)
}

/// Counts a change that nobody hears of, for the server's save points. Only
/// after [`is_propagated`] said so: then the server drops what it would propagate.
pub fn count_only(ctx: &Context<'_>) {
    verbatim(ctx);
}

/// Propagates `command key payload`.
pub fn effect(ctx: &Context<'_>, command: &CStr, key: Arg<'_>, payload: &[u8]) {
    // SAFETY: all are live, and the format matches: a string, a buffer with its length.
    unsafe {
        call!(RedisModule_Replicate(
            ctx.raw(),
            command.as_ptr(),
            c"sb".as_ptr(),
            key.raw(),
            payload.as_ptr(),
            payload.len()
        ));
    }
}

/// Propagates `command key payload [key payload …]` as one command.
pub fn effects<'a>(
    ctx: &Context<'_>,
    command: &CStr,
    effects: impl IntoIterator<Item = (Arg<'a>, &'a [u8])>,
) {
    let mut vector: Vec<*mut raw::RedisModuleString> = Vec::new();
    for (key, payload) in effects {
        vector.push(key.raw());
        // SAFETY: the context is live; freed below.
        vector.push(unsafe {
            call!(RedisModule_CreateString(ctx.raw(), payload.as_ptr().cast(), payload.len()))
        });
    }
    if vector.is_empty() {
        return;
    }
    // SAFETY: the format matches: a vector of live strings and its length. The
    // payload strings are ours to free, the keys are not.
    unsafe {
        call!(RedisModule_Replicate(
            ctx.raw(),
            command.as_ptr(),
            c"v".as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
        for payload in vector.iter().skip(1).step_by(2) {
            call!(RedisModule_FreeString(ctx.raw(), *payload));
        }
    }
}

/// Propagates `command argument …` of plain bytes.
pub fn command(ctx: &Context<'_>, command: &CStr, arguments: &[&[u8]]) {
    plain(ctx, command, c"v", arguments);
}

/// Writes `command argument …` to this server's AOF, and not to its replicas.
pub fn to_aof_only(ctx: &Context<'_>, command: &CStr, arguments: &[&[u8]]) {
    plain(ctx, command, c"vR", arguments);
}

/// `format` is a vector, perhaps with modifiers.
fn plain(ctx: &Context<'_>, command: &CStr, format: &CStr, arguments: &[&[u8]]) {
    // SAFETY: the strings live until they are freed below; the format matches.
    unsafe {
        let mut vector: Vec<_> = arguments
            .iter()
            .map(|bytes| call!(RedisModule_CreateString(ctx.raw(), bytes.as_ptr().cast(), bytes.len())))
            .collect();
        call!(RedisModule_Replicate(
            ctx.raw(),
            command.as_ptr(),
            format.as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
        for string in vector {
            call!(RedisModule_FreeString(ctx.raw(), string));
        }
    }
}

/// Propagates the command being run as it is.
pub fn verbatim(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplicateVerbatim(ctx.raw()));
    }
}
