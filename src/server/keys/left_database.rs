//! Keeps a client in its database in spite of a fault in Valkey's events.
//!
//! Valkey 8.1 to 9.1.1 reports an event of a key through the client whose command caused it, and
//! leaves that client in the key's database. After MOVE, and after COPY with DB, this is the wrong
//! database (valkey-io/valkey#4024). So we put the client back after such an event.

use crate::server::boundary;
use crate::server::context::Context;
use crate::server::ffi::api::{call, call_if_there, constant};
use crate::server::ffi::args::Arg;
use crate::server::keys::queued_copies::{QueuedCopies, QueuedCopy, number};
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if the server has that fault. It is learnt when the module is loaded.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// The MOVE or COPY that was asked for last, outside of a transaction.
static ASKED: MainThreadCell<Option<QueuedCopy>> = MainThreadCell::new(None);

/// The databases of the copies in transactions.
static QUEUED: MainThreadCell<QueuedCopies> = MainThreadCell::new(QueuedCopies::new());

/// The database in which a script runs.
static SCRIPT_IN: MainThreadCell<Option<i32>> = MainThreadCell::new(None);

/// With these letters begin the commands that run scripts: EVAL, EVALSHA, FCALL and their variants.
const SCRIPTS: [&[u8]; 2] = [b"EVAL", b"FCAL"];

/// Learns whether this Valkey has the fault, from a `version` such as `8.1.1`.
pub(in crate::server) fn runs_on(version: &[u8]) {
    IS_LEFT.store(has_fault(version), Ordering::Relaxed);
}

/// True if servers of this version of Valkey leave the client in the wrong database (the head of this
/// file).
pub fn has_fault(version: &[u8]) -> bool {
    let mut parts = version.split(|byte| *byte == b'.').map(|part| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    });
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    ((8, 1, 0)..(9, 1, 2)).contains(&version)
}

/// True if subscribing to events of keys would lose data now. Commands from the AOF pass no command
/// filter, so after a COPY with DB from there the rest would go to the wrong database.
pub(super) fn may_not_be_told(ctx: &Context<'_>) -> bool {
    IS_LEFT.load(Ordering::Relaxed) && ctx.flags().is_loading()
}

/// Notices COPY commands from now on, if the server has the fault. MOVE needs no filter: its first
/// event tells the client's database.
pub(super) fn watch(ctx: &Context<'_>) {
    if IS_LEFT.load(Ordering::Relaxed) {
        let not_ours = raw::REDISMODULE_CMDFILTER_NOSELF.cast_signed();
        // SAFETY: the context is live; the callback is a function of this library.
        unsafe { call_if_there!(RedisModule_RegisterCommandFilter(ctx.raw(), Some(asked), not_ours)) };
    }
}

unsafe extern "C" fn asked(filter: *mut raw::RedisModuleCommandFilterCtx) {
    // SAFETY: the server passes a live filter, on its main thread, with at least one argument.
    let main = unsafe { MainThread::new() };
    boundary::guard(|| note(main, &FilteredCommand { filter }));
}

/// Remembers in which database a COPY runs, and follows the transactions and the scripts in which
/// there may be one.
fn note(main: MainThread, command: &FilteredCommand) {
    let Some(name) = command.arg(0) else { return };
    let is = |keyword: &str| name.is(keyword);
    let is_script =
        SCRIPTS.iter().any(|start| name.bytes().get(..4).is_some_and(|own| own.eq_ignore_ascii_case(start)));
    if !is_script && !["COPY", "SELECT", "EXEC", "DISCARD", "RESET"].into_iter().any(is) {
        return;
    }
    let (mut queued, mut script_in) = (QUEUED.of(main).borrow_mut(), SCRIPT_IN.of(main).borrow_mut());
    let mut asked = ASKED.of(main).borrow_mut();
    let Some(client) = command.client() else {
        // A script asks.
        match command.arg(1) {
            Some(database) if is("SELECT") => *script_in = number(database),
            _ if is("COPY") => *asked = copying(command, *script_in),
            _ => {}
        }
        return;
    };
    let database = i32::from(client.db);
    if is("EXEC") {
        *script_in = queued.run(client.id);
        *asked = None;
    } else if is("DISCARD") || is("RESET") {
        queued.discard(client.id);
    } else if client.flags & u64::from(raw::REDISMODULE_CLIENTINFO_FLAG_MULTI) != 0 {
        queued.queue(client.id, database, |at| command.arg(at));
    } else if is_script {
        *script_in = Some(database);
    } else if is("COPY") {
        *asked = copying(command, Some(database));
    }
}

fn copying(command: &FilteredCommand, from: Option<i32>) -> Option<QueuedCopy> {
    Some(QueuedCopy::new(command.arg(2)?, from?))
}

/// A command that a client sends, in the filter that sees it first.
struct FilteredCommand {
    /// The context of the filter, which is live for as long as the command.
    filter: *mut raw::RedisModuleCommandFilterCtx,
}

impl FilteredCommand {
    /// An argument; number 0 is the name of the command.
    fn arg(&self, at: usize) -> Option<Arg<'_>> {
        let at = c_int::try_from(at).ok()?;
        // SAFETY: the filter is live, and its arguments as long.
        unsafe {
            (at < call!(RedisModule_CommandFilterArgsCount(self.filter)))
                .then(|| Arg::from_raw(call!(RedisModule_CommandFilterArgGet(self.filter, at))))
        }
    }

    /// The client. `None` for a command of a script or of a module.
    fn client(&self) -> Option<raw::RedisModuleClientInfo> {
        let mut client =
            raw::RedisModuleClientInfo { version: 1, flags: 0, id: 0, addr: [0; 46], port: 0, db: 0 };
        // SAFETY: the filter is live; the structure has the version that it names.
        let is_known = unsafe {
            call_if_there!(RedisModule_CommandFilterGetClientId(self.filter)).is_some_and(|id| {
                call!(RedisModule_GetClientInfoById((&raw mut client).cast(), id))
                    == constant(raw::REDISMODULE_OK)
            })
        };
        is_known.then_some(client)
    }
}

/// Puts the client back into its database, after an event of a key was reported through its
/// context. `key` is the event's key.
pub(super) fn put_back(ctx: &Context<'_>, event: &[u8], key: Arg<'_>) {
    if !IS_LEFT.load(Ordering::Relaxed) {
        return;
    }
    let mut asked = ASKED.of(ctx.main()).borrow_mut();
    match event {
        b"move_from" => *asked = Some(QueuedCopy::new(key, ctx.database())),
        b"move_to" | b"copy_to" => {
            let asked = asked.take().and_then(|copy| copy.creating(key.bytes()));
            let queued = || QUEUED.of(ctx.main()).borrow_mut().ran(key.bytes());
            if let Some(database) = asked.or_else(queued) {
                ctx.select(database);
            }
        }
        _ => {}
    }
}
