//! Clients that wait for a reply, as the server's own blocked clients.
//!
//! CLIENT LIST, CLIENT UNBLOCK, disconnects, role changes and slot moves therefore work on them as
//! on a client that BLPOP blocks.
//!
//! A client is blocked in the slot of its key, and an ID names it. Its wait ends in one of two ways, and
//! [`BlockedClientHandler`] is called exactly once for each client. Either the client is to be
//! answered: the module asked for it, the timeout passed, or somebody sent CLIENT UNBLOCK. Or the
//! client is gone: it disconnected, was killed, redirected or unblocked with an error, or the server
//! became a replica.

use super::cluster_slot::tag_in_slot_of;
use super::context::Context;
use crate::server::boundary;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::random;
use crate::server::main_thread::assert_idle;
use redis_module::raw;
use std::ffi::{c_int, c_longlong, c_void};
use std::sync::{LazyLock, OnceLock};

/// The functions that the server calls when a client's wait ends.
#[derive(Clone, Copy, Debug)]
pub struct BlockedClientHandler {
    /// Answers the client with this ID. Replies on the context go to that client.
    pub answer: fn(&Context<'_>, u64),
    /// Forgets the client with this ID, which can no longer be answered.
    pub gone: fn(&Context<'_>, u64),
}

static HANDLER: OnceLock<BlockedClientHandler> = OnceLock::new();

/// A client that waits. The handle is valid until [`BlockedClientHandler`] is called for it.
#[derive(Clone, Copy, Debug)]
pub struct Blocked(*mut raw::RedisModuleBlockedClient);

/// The end of a name that nobody writes, because nobody can guess it.
static UNWRITTEN: LazyLock<[u8; 32]> = LazyLock::new(random::hex);

/// A name that nobody writes, in the same slot as `key` in a cluster.
///
/// A new value of the name makes the server try its waiters. If that is not within a command, as when
/// a waiter is granted, Redis 7.0 takes one that stays blocked for the current client from then on.
/// Once another client has killed that one, the server reads its memory, and crashes.
fn unwritten_name(key: &[u8], in_cluster: bool) -> Vec<u8> {
    if in_cluster {
        [b"{", &*tag_in_slot_of(key), b"}", &*UNWRITTEN].concat()
    } else {
        [key, &*UNWRITTEN].concat()
    }
}

/// Blocks the client of this call in the slot of `key` under `id`, for at most `timeout_ms`
/// milliseconds, or without a limit if that is 0.
///
/// The caller has checked that the client may block
/// ([`Flags::deny_blocking`](crate::server::context::Flags::deny_blocking)).
pub fn block(
    ctx: &Context<'_>,
    key: Arg<'_>,
    id: u64,
    timeout_ms: i64,
    handler: BlockedClientHandler,
) -> Blocked {
    let _ = HANDLER.set(handler);
    let name = OwnedString::new(ctx, &unwritten_name(key.bytes(), ctx.flags().cluster()));
    let mut keys = [name.arg().raw()];
    // The ID fits a pointer: a process has fewer waiters in its life than addresses.
    let private = std::ptr::without_provenance_mut::<c_void>(usize::try_from(id).unwrap_or(usize::MAX));
    // SAFETY: the context and the key are live; the callbacks are functions of this library; the
    // private data is a number that nobody dereferences.
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
    /// Makes the server call [`BlockedClientHandler::answer`] for this client, now or a little
    /// later.
    pub fn answer(self) {
        assert_idle();
        // SAFETY: the handle is live (see the type). For a client that is blocked on keys the
        // server calls the timeout callback, which answers.
        unsafe {
            call!(RedisModule_UnblockClient(self.0, std::ptr::null_mut()));
        }
    }
}

/// The server calls this when a command writes the name. The queue decides who is served, so the client
/// stays blocked.
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
    unsafe { call_handler(ctx, |handler| handler.answer) }
    constant(raw::REDISMODULE_OK)
}

unsafe extern "C" fn gone(ctx: *mut raw::RedisModuleCtx, _: *mut raw::RedisModuleBlockedClient) {
    // SAFETY: the server passes the context of a blocked client.
    unsafe { call_handler(ctx, |handler| handler.gone) }
}

/// # Safety
/// `ctx` is the live context of a blocked client, on the main thread.
unsafe fn call_handler(
    ctx: *mut raw::RedisModuleCtx,
    which: fn(&BlockedClientHandler) -> fn(&Context<'_>, u64),
) {
    let Some(handler) = HANDLER.get() else { return };
    // SAFETY: the caller's promise; the private data is our ID.
    let (context, id) =
        unsafe { (Context::from_raw(ctx), call!(RedisModule_GetBlockedClientPrivateData(ctx)).addr()) };
    let id = id as u64;
    boundary::enter(&context, || which(handler)(&context, id));
}
