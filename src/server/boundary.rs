//! Where the server enters the module: a panic stops here, and keyspace events are
//! told when the call has let go of everything.
//!
//! Calls may come inside each other: opening or deleting a key lets the server tell
//! other modules, and these may run our commands. So at such a call no other key is
//! open and no [`MainThreadCell`](crate::server::main_thread::MainThreadCell) is
//! borrowed; development builds check that each time where the environment has
//! `FLOODGATE_WATCH`, as the servers of the tests have.

use crate::server::context::Context;
use crate::server::keys::notifications;
use crate::server::main_thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one call. `None` when it panicked; the panic hook has logged why.
#[inline]
pub(in crate::server) fn enter<R>(ctx: &Context<'_>, run: impl FnOnce() -> R) -> Option<R> {
    let outer = notifications::begin(ctx.main());
    let keys = main_thread::enter();
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    main_thread::leave(keys);
    // Nothing in it is ours but the list itself.
    let told = catch_unwind(AssertUnwindSafe(|| notifications::tell(ctx, outer)));
    result.filter(|_| told.is_ok())
}
