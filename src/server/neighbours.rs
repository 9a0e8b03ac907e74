//! Whether other modules are loaded, which may run whenever the server tells of a key.

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;

/// `None` until somebody asks.
static NEIGHBOURS: MainThreadCell<Option<bool>> = MainThreadCell::new(None);

/// A module was loaded or unloaded.
pub(super) fn changed(main: MainThread) {
    *NEIGHBOURS.of(main).borrow_mut() = None;
}

/// Whether there are other modules, or may be.
pub(super) fn are_there(ctx: &Context<'_>) -> bool {
    let known = *NEIGHBOURS.of(ctx.main()).borrow();
    known.unwrap_or_else(|| {
        let others = ask(ctx);
        *NEIGHBOURS.of(ctx.main()).borrow_mut() = Some(others);
        others
    })
}

/// `MODULE LIST` names this module and nobody else, or there are others.
#[cold]
fn ask(ctx: &Context<'_>) -> bool {
    // SAFETY: the context is live and the format matches; the reply is freed.
    unsafe {
        let reply = call!(RedisModule_Call(ctx.raw(), c"MODULE".as_ptr(), c"c".as_ptr(), c"LIST".as_ptr()));
        if reply.is_null() {
            return true;
        }
        let alone = call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ARRAY)
            && call!(RedisModule_CallReplyLength(reply)) <= 1;
        call!(RedisModule_FreeCallReply(reply));
        !alone
    }
}
