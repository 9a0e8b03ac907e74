//! Clients that wait: the server's own blocked clients, so that CLIENT LIST,
//! CLIENT UNBLOCK, disconnects, role changes and slot moves work as for BLPOP.
//!
//! A client is blocked on its key and known by a ticket. It goes in one of two
//! ways, each told to [`BlockedClientHandler`] once: it is to be answered (we chose to, its time
//! is up, or CLIENT UNBLOCK), or it is gone (disconnected, killed, redirected,
//! unblocked with an error, the server became a replica).

use super::context::Context;
use crate::server::boundary;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::main_thread::assert_idle;
use redis_module::raw;
use std::ffi::{c_int, c_longlong, c_void};
use std::sync::OnceLock;

/// Who looks after blocked clients.
#[derive(Clone, Copy, Debug)]
pub struct BlockedClientHandler {
    /// Answers the client of this ticket; the context's replies go to it.
    pub answer: fn(&Context<'_>, u64),
    /// The client of this ticket cannot be answered any more.
    pub gone: fn(&Context<'_>, u64),
}

static WARD: OnceLock<BlockedClientHandler> = OnceLock::new();

/// A client that waits. The handle holds until [`BlockedClientHandler`] is told of its ticket.
#[derive(Clone, Copy, Debug)]
pub struct Blocked(*mut raw::RedisModuleBlockedClient);

/// Blocks the client of this call on `key` under `ticket`, for at most
/// `timeout_ms` (0: until it is answered). Only where blocking is allowed.
pub fn block(
    ctx: &Context<'_>,
    key: Arg<'_>,
    ticket: u64,
    timeout_ms: i64,
    ward: BlockedClientHandler,
) -> Blocked {
    let _ = WARD.set(ward);
    let mut keys = [key.raw()];
    // A process has fewer waiters in its life than addresses.
    let private = std::ptr::without_provenance_mut::<c_void>(usize::try_from(ticket).unwrap_or(usize::MAX));
    // SAFETY: the context and the key are live; the callbacks are functions of
    // this library; the private data is a number, never followed.
    unsafe {
        let client = call!(RedisModule_BlockClientOnKeys(
            ctx.raw(),
            Some(ready),
            Some(answer),
            None,
            c_longlong::from(timeout_ms),
            keys.as_mut_ptr(),
            1,
            private
        ));
        call_if_there!(RedisModule_SetDisconnectCallback(client, Some(gone)));
        Blocked(client)
    }
}

impl Blocked {
    /// Has [`BlockedClientHandler::answer`] called for this client, now or a little later.
    pub fn answer(self) {
        assert_idle();
        // SAFETY: the handle is live (see the type). For a client blocked on
        // keys the server calls the timeout callback, which answers.
        unsafe {
            call!(RedisModule_UnblockClient(self.0, std::ptr::null_mut()));
        }
    }
}

/// A key of this name was signalled by somebody: the line decides, not this.
unsafe extern "C" fn ready(
    _: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    constant(raw::REDISMODULE_ERR)
}

unsafe extern "C" fn answer(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    // SAFETY: the server passes the context of a blocked client.
    unsafe { tell(ctx, |ward| ward.answer) }
    constant(raw::REDISMODULE_OK)
}

unsafe extern "C" fn gone(ctx: *mut raw::RedisModuleCtx, _: *mut raw::RedisModuleBlockedClient) {
    // SAFETY: the server passes the context of a blocked client.
    unsafe { tell(ctx, |ward| ward.gone) }
}

/// # Safety
/// `ctx` is the live context of a blocked client, on the main thread.
unsafe fn tell(ctx: *mut raw::RedisModuleCtx, which: fn(&BlockedClientHandler) -> fn(&Context<'_>, u64)) {
    let Some(ward) = WARD.get() else { return };
    // SAFETY: the caller's promise; the private data is our ticket.
    let (context, ticket) =
        unsafe { (Context::from_raw(ctx), call!(RedisModule_GetBlockedClientPrivateData(ctx)).addr()) };
    let ticket = ticket as u64;
    boundary::enter(&context, || which(ward)(&context, ticket));
}
