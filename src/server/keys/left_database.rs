//! A client stays in its database, whatever Valkey's events do to it.
//!
//! Valkey from 8.1 to 9.1.1 tells a module of a key by the client whose command it was,
//! and leaves that client in the key's database. After MOVE, and after COPY with DB, it
//! is the wrong one (valkey-io/valkey#4024). So the client is put back when we were told.

use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the server has that fault: learnt when the module is loaded.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// The database of the client that moves or copies a key.
static ASKED_IN: MainThreadCell<Option<i32>> = MainThreadCell::new(None);

/// Learns which Valkey this is from `version`, like `8.1.1`.
pub(in crate::server) fn runs_on(version: &[u8]) {
    IS_LEFT.store(has_fault(version), Ordering::Relaxed);
}

fn has_fault(version: &[u8]) -> bool {
    let mut parts = version.split(|byte| *byte == b'.').map(|part| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    });
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    ((8, 1, 0)..(9, 1, 2)).contains(&version)
}

/// Whether being told of keys would lose data now: commands from the AOF pass no filter,
/// so after a COPY with DB from there the rest would go to the wrong database.
pub(super) fn may_not_be_told(ctx: &Context<'_>) -> bool {
    IS_LEFT.load(Ordering::Relaxed) && ctx.flags().is_loading()
}

/// Sees COPY coming from now on, where the server has the fault. MOVE says in which
/// database it was asked for.
///
/// # Safety
/// `ctx` is a live context of this module.
pub(super) unsafe fn watch(ctx: *mut raw::RedisModuleCtx) {
    if IS_LEFT.load(Ordering::Relaxed) {
        let not_ours = raw::REDISMODULE_CMDFILTER_NOSELF.cast_signed();
        // SAFETY: the caller's promise; the callback is a function of this library.
        unsafe { call_if_there!(RedisModule_RegisterCommandFilter(ctx, Some(asked), not_ours)) };
    }
}

/// A client asks for something.
unsafe extern "C" fn asked(filter: *mut raw::RedisModuleCommandFilterCtx) {
    // SAFETY: the server passes a live filter, on its main thread, with one argument
    // at least.
    let name = unsafe { Arg::from_raw(call!(RedisModule_CommandFilterArgGet(filter, 0))) };
    if !name.bytes().eq_ignore_ascii_case(b"copy") {
        return;
    }
    let mut client =
        raw::RedisModuleClientInfo { version: 1, flags: 0, id: 0, addr: [0; 46], port: 0, db: 0 };
    // SAFETY: the filter is live; the structure is of the version that it names.
    let is_known = unsafe {
        call_if_there!(RedisModule_CommandFilterGetClientId(filter)).is_some_and(|id| {
            call!(RedisModule_GetClientInfoById((&raw mut client).cast(), id))
                == constant(raw::REDISMODULE_OK)
        })
    };
    // SAFETY: filters run on the main thread.
    let main = unsafe { MainThread::new() };
    drop(catch_unwind(|| *ASKED_IN.of(main).borrow_mut() = is_known.then(|| i32::from(client.db))));
}

/// An event of a key was told by this context, and has been heard.
pub(super) fn put_back(ctx: &Context<'_>, event: &[u8]) {
    if !IS_LEFT.load(Ordering::Relaxed) {
        return;
    }
    let mut asked_in = ASKED_IN.of(ctx.main()).borrow_mut();
    match event {
        b"move_from" => *asked_in = Some(ctx.database()),
        // In a transaction it was asked for before its other commands ran.
        b"copy_to" if ctx.flags().in_transaction() => *asked_in = None,
        b"move_to" | b"copy_to" => {
            if let Some(database) = asked_in.take() {
                ctx.select(database);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::has_fault;

    #[test]
    fn the_versions_between() {
        for version in ["8.1.0", "8.1.1", "8.1.9", "9.0.3", "9.1.0", "9.1.1", "9.1.1-rc1"] {
            assert!(has_fault(version.as_bytes()), "{version}");
        }
        for version in ["", "x", "7.2.4", "8.0.9", "9.1.2", "9.2.0", "10.0.0"] {
            assert!(!has_fault(version.as_bytes()), "{version}");
        }
    }
}
