//! Whether other modules are loaded, which may run whenever the server notifies them of a key.
//!
//! Some servers bring modules of their own, which are always loaded. None of these listens to keys,
//! so they are no neighbours. A grant on Redis 8.6 would otherwise look its key up once more, for
//! the event that nobody receives (`scripts/bench/lookups.py`).

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::call::text_of;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;

/// The modules that come with a server and do not listen to keys: vector sets with Redis 8, the
/// engine for scripts with Valkey 9.1. Their path names no file.
const BUILT_IN: [(&[u8], &[u8]); 2] = [(b"vectorset", b""), (b"lua", b"lua")];

/// The last answer; `None` until somebody asks.
static OTHER_MODULES: MainThreadCell<Option<bool>> = MainThreadCell::new(None);

/// Forgets the answer, because a module was loaded or unloaded.
pub(super) fn changed(main: MainThread) {
    *OTHER_MODULES.of(main).borrow_mut() = None;
}

/// Whether other modules are loaded. True also if the server does not say.
pub(super) fn are_loaded(ctx: &Context<'_>) -> bool {
    let known = *OTHER_MODULES.of(ctx.main()).borrow();
    known.unwrap_or_else(|| {
        let others = ask(ctx);
        *OTHER_MODULES.of(ctx.main()).borrow_mut() = Some(others);
        others
    })
}

/// Asks MODULE LIST whether it names more modules than this one.
#[cold]
fn ask(ctx: &Context<'_>) -> bool {
    // SAFETY: the context is live and the format matches; the reply is freed, and its parts are not
    // used afterwards.
    unsafe {
        let reply = call!(RedisModule_Call(ctx.raw(), c"MODULE".as_ptr(), c"c".as_ptr(), c"LIST".as_ptr()));
        if reply.is_null() {
            return true;
        }
        let is_list = call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ARRAY);
        let others = (0..call!(RedisModule_CallReplyLength(reply)))
            .filter(|&index| !is_built_in(call!(RedisModule_CallReplyArrayElement(reply, index))))
            .count();
        call!(RedisModule_FreeCallReply(reply));
        !is_list || others > 1
    }
}

/// Whether an entry of MODULE LIST is one of [`BUILT_IN`].
///
/// # Safety
/// `entry` is null or a live part of a reply.
unsafe fn is_built_in(entry: *mut raw::RedisModuleCallReply) -> bool {
    // SAFETY: the caller's promise. A part past the end is null, which has no text.
    unsafe {
        if entry.is_null()
            || call!(RedisModule_CallReplyType(entry)) != constant(raw::REDISMODULE_REPLY_ARRAY)
        {
            return false;
        }
        let text = |index| text_of(call!(RedisModule_CallReplyArrayElement(entry, index)));
        let fields = call!(RedisModule_CallReplyLength(entry));
        let value =
            |field: &[u8]| (0..fields).step_by(2).find(|&at| text(at) == field).map(|at| text(at + 1));
        // Servers before 7.0 tell no path, and have no such modules.
        value(b"name").zip(value(b"path")).is_some_and(|(name, path)| comes_with_server(&name, &path))
    }
}

fn comes_with_server(name: &[u8], path: &[u8]) -> bool {
    BUILT_IN.contains(&(name, path))
}

#[cfg(test)]
mod tests {
    use super::comes_with_server;

    #[test]
    fn a_file_of_the_same_name_is_a_neighbour() {
        for (name, path) in [("vectorset", ""), ("lua", "lua")] {
            assert!(comes_with_server(name.as_bytes(), path.as_bytes()), "{name}");
        }
        for (name, path) in [
            ("vectorset", "/usr/lib/vectorset.so"),
            ("lua", "/usr/lib/valkey/lua.so"),
            ("lua", "./lua"),
            ("search", ""),
            ("floodgate", "/usr/lib/libfloodgate.so"),
        ] {
            assert!(!comes_with_server(name.as_bytes(), path.as_bytes()), "{name} at {path}");
        }
    }
}
