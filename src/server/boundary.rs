//! The boundary where the server enters the module.
//!
//! A panic stops here, and nowhere else. [`enter`] runs what may open keys: commands, timers, events of
//! the server, answers to waiters, messages of other nodes. When such a call has closed its keys and
//! returned its borrows, its keyspace events are sent. [`guard`] runs the smaller callbacks, which open
//! no key: the load of the module, and those of types, settings, INFO, key positions, filters, and
//! listeners to changes of keys.
//!
//! Calls can nest; the guide lists which calls of the server can call back
//! ([`threads`](crate::guide::threads)). When a key is opened or deleted, the server notifies other
//! modules, and these may run our commands. So at such a moment no other key is open and no
//! [`MainThreadCell`](crate::server::main_thread::MainThreadCell) is borrowed. Development builds
//! check this each time if the environment has `FLOODGATE_WATCH`, as the servers of the tests have.

use crate::server::context::Context;
use crate::server::keys::notifications;
use crate::server::main_thread;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a callback that opens no key. Returns `None` if it panicked; the panic hook has logged the
/// reason.
///
/// A panic can only leave incomplete what the callback itself changed, so unwinding is safe.
#[inline]
pub(in crate::server) fn guard<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// Runs one call, which may open keys. Returns `None` if it panicked; the panic hook has logged the reason.
#[inline]
pub(in crate::server) fn enter<R>(ctx: &Context<'_>, run: impl FnOnce() -> R) -> Option<R> {
    let outer = notifications::begin(ctx.main());
    let outer_keys = main_thread::enter();
    let result = guard(run);
    main_thread::leave(outer_keys);
    if notifications::end_silently(ctx.main(), outer) {
        return result;
    }
    // A panic in here can only leave the list of events incomplete, so unwinding is safe.
    let told = guard(|| notifications::tell(ctx, outer));
    result.filter(|_| told.is_some())
}
