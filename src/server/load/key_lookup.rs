//! How a server finds the keys of a call whose keys are not at a fixed place, and what we tell it so
//! that this is safe.
//!
//! Such a server reads the key specifications of a command, or it asks the command itself
//! (`getkeys-api`). Both can go wrong:
//!
//! - **Steps.** Redis 7.0 and 8.0 and Valkey 8.1 misread a count of keys with a step above 1: they find
//!   too few keys. Such a specification is marked as incomplete there, and the server asks. Redis 8.4
//!   and later have a command like this of their own, MSETEX, and read it rightly.
//! - **Threads.** A server with I/O threads may ask on one of them. That is never safe, whatever the
//!   module does: the server counts the call on its main thread's books, and ends on an assertion.
//!   Redis 8.6 does so for incomplete specifications, Valkey 8.1 for all commands in a cluster. Where
//!   the server may do that, it is told the first key only ([`KeyLookup::FirstKey`]), and we check
//!   the others ourselves.

use crate::server::cluster_slot::slot_of;
use crate::server::context::Context;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::call::{ServerReply, user_may_change};
use crate::server::ffi::reply;
use crate::server::load::command::Keys;
use crate::server::load::key_positions::positions;
use redis_module::raw;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if this server is told the first key of a call only.
static FIRST_KEY: AtomicBool = AtomicBool::new(false);

/// The way in which a server learns the keys of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// The server gets complete specifications. The server may ask all the same, on its main
    /// thread.
    Specifications,
    /// The server gets specifications, those with steps marked as incomplete, and asks on its main
    /// thread.
    Question,
    /// The server knows the first key. The others are checked when the command runs.
    FirstKey,
}

impl KeyLookup {
    /// Returns the way for this server. Call this function once, when the module is loaded.
    pub fn of_server(ctx: &Context<'_>) -> Self {
        let found = Self::of(Traits::of_server(ctx));
        FIRST_KEY.store(found == Self::FirstKey, Ordering::Relaxed);
        found
    }

    /// Returns the way for a server with these traits.
    pub const fn of(server: Traits) -> Self {
        if server.reads_steps {
            Self::Specifications
        } else if server.in_cluster && server.io_threads && server.may_ask_on_threads {
            Self::FirstKey
        } else {
            Self::Question
        }
    }
}

/// The traits of a server that decide how it finds keys.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct Traits {
    /// True if the server has MSETEX, and finds all keys of it.
    pub reads_steps: bool,
    /// True if the server is a node of a cluster.
    pub in_cluster: bool,
    /// True if the server has I/O threads besides its main thread.
    pub io_threads: bool,
    /// True if the server is not one of those that are known to ask on the main thread.
    pub may_ask_on_threads: bool,
}

impl Traits {
    fn of_server(ctx: &Context<'_>) -> Self {
        let two = |reply: ServerReply<'_>| reply.is_array() && reply.len() == 2;
        let words: [&[u8]; 6] = [b"GETKEYS", b"MSETEX", b"2", b"a", b"1", b"b"];
        let words = [&words[..], &[b"2"]].concat();
        let threads = ctx.server_setting(c"io-threads").and_then(|threads| threads.parse::<u32>().ok());
        Self {
            reads_steps: ctx.ask(c"COMMAND", c"v", &words, two).unwrap_or(false),
            in_cluster: ctx.flags().cluster(),
            // Where CONFIG is renamed, nobody knows.
            io_threads: threads.is_none_or(|threads| threads > 1),
            may_ask_on_threads: may_ask_on_threads(
                ctx.server_text(c"server", c"valkey_version").as_deref(),
                ctx.server_text(c"server", c"redis_version").as_deref(),
            ),
        }
    }
}

/// True if a server of these versions may ask for keys on its I/O threads. Valkey 8 does. Redis up to
/// 8.0 and Valkey 7.2 and from 9 on do not. Of the others, which lie between, nothing is known.
pub fn may_ask_on_threads(valkey: Option<&str>, redis: Option<&str>) -> bool {
    match (valkey.and_then(version), redis.and_then(version)) {
        (Some((major, _)), _) => major == 8,
        (None, Some(redis)) => redis > (8, 0),
        (None, None) => true,
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Refuses a call, in the server's words, whose keys lie in several slots of a cluster or are not its
/// user's, where the server knows the first key only. Returns true if it did.
#[doc(hidden)]
#[inline]
pub fn refuses(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    keys: Keys,
) -> bool {
    FIRST_KEY.load(Ordering::Relaxed) && refuses_any(ctx, argv, argc, keys)
}

#[cold]
#[allow(clippy::not_unsafe_ptr_arg_deref)] // only `entry!` uses it, with what the server gave it
fn refuses_any(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    keys: Keys,
) -> bool {
    // SAFETY: the server passes a live context and live arguments, on its main thread, for the
    // duration of this call.
    let (ctx, args) = unsafe { (Context::from_raw(ctx), Args::from_raw(argv, argc)) };
    if ctx.flags().replicated_or_loading() {
        return false;
    }
    // After a panic nothing is known, and the command says what is wrong.
    let positions = positions(args, keys).into_iter();
    let keys: Vec<Arg<'_>> = positions.filter_map(|at| args.get(at.checked_sub(1)?)).collect();
    let Some((first, others)) = keys.split_first() else { return false };
    if others.iter().any(|key| !user_may_change(&ctx, *key)) {
        reply::error(&ctx, "NOPERM No permissions to access a key");
        return true;
    }
    let slot = slot_of(first.bytes());
    if others.iter().any(|key| slot_of(key.bytes()) != slot) {
        reply::error(&ctx, "CROSSSLOT Keys in request don't hash to the same slot");
        return true;
    }
    false
}
