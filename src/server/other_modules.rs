//! Whether other modules are loaded, which may run whenever the server notifies them of a key.
//!
//! Some servers bring modules of their own, which are always loaded. None of these listens to keys,
//! so they are no neighbours. A grant on Redis 8.6 would otherwise look its key up once more, for
//! the event that nobody receives (`scripts/bench/lookups.py`).

use crate::server::context::Context;
use crate::server::ffi::call::ServerReply;
use crate::server::main_thread::{MainThread, MainThreadCell};

/// The modules that come with a server and do not listen to keys: vector sets with Redis 8, the
/// engine for scripts with Valkey 9.1. Their path names no file.
const BUILT_IN: [(&[u8], &[u8]); 2] = [(b"vectorset", b""), (b"lua", b"lua")];

/// The last answer; `None` until somebody asks.
static OTHER_MODULES: MainThreadCell<Option<bool>> = MainThreadCell::new(None);

/// Forgets the answer, because a module was loaded or unloaded.
pub(super) fn changed(main: MainThread) {
    *OTHER_MODULES.of(main).borrow_mut() = None;
}

/// True if other modules are loaded. True also if the server does not say.
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
    let others = ctx.ask(c"MODULE", c"v", &[b"LIST"], |reply| {
        let modules = (0..reply.len()).filter_map(|index| reply.part(index));
        !reply.is_array() || modules.filter(|module| !is_built_in(*module)).count() > 1
    });
    others.unwrap_or(true)
}

/// True if an entry of MODULE LIST is one of [`BUILT_IN`].
fn is_built_in(entry: ServerReply<'_>) -> bool {
    let text = |at| entry.part(at).map(ServerReply::text).unwrap_or_default();
    let value =
        |field: &[u8]| (0..entry.len()).step_by(2).find(|&at| text(at) == field).map(|at| text(at + 1));
    // Servers before 7.0 tell no path, and have no such modules.
    entry.is_array()
        && value(b"name").zip(value(b"path")).is_some_and(|(name, path)| comes_with_server(&name, &path))
}

/// True if a module of this name and path in MODULE LIST is one that comes with a server and does not
/// listen to keys.
pub fn comes_with_server(name: &[u8], path: &[u8]) -> bool {
    BUILT_IN.contains(&(name, path))
}
