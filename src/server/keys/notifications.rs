//! Keyspace events, told once the command that caused them touches nothing any more.
//!
//! Other modules listen to keyspace events and may call any command from there, ours
//! too. So an event is only noted where a key changes; [`tell`] hands all of them to
//! the server at the end of the call, when no key is open and no cell is borrowed.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell, assert_idle};
use redis_module::raw;
use std::ffi::{CStr, c_int};

/// One event of one key.
#[derive(Clone, Copy, Debug)]
struct Notification {
    /// The name, held until it is told.
    name: *mut raw::RedisModuleString,
    database: i32,
    class: c_int,
    event: &'static CStr,
}

#[derive(Debug)]
struct Notifications {
    noted: Vec<Notification>,
    /// Where those of the call at hand start: a listener's own calls come inside ours.
    start: usize,
}

static NOTIFICATIONS: MainThreadCell<Notifications> =
    MainThreadCell::new(Notifications { noted: Vec::new(), start: 0 });

/// Where the events of the call around this one start.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct OuterStart(usize);

/// A call begins.
#[inline]
pub(in crate::server) fn begin(main: MainThread) -> OuterStart {
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    let outer = OuterStart(all.start);
    all.start = all.noted.len();
    outer
}

/// Notes an event of a key of the context's database. What is the same as the last
/// one is told once.
pub(super) fn note(ctx: &Context<'_>, class: c_int, event: &'static CStr, name: Arg<'_>) {
    let database = ctx.database();
    let mut all = NOTIFICATIONS.of(ctx.main()).borrow_mut();
    let again = all.noted.len() > all.start
        && all.noted.last().is_some_and(|last| {
            std::ptr::eq(last.name, name.raw())
                && (last.database, last.class) == (database, class)
                && last.event == event
        });
    if !again {
        // SAFETY: the name is a live string; without a context it is only counted.
        unsafe { call!(RedisModule_RetainString(std::ptr::null_mut(), name.raw())) }
        all.noted.push(Notification { name: name.raw(), database, class, event });
    }
}

/// Tells what the call at hand has noted, in order; the call ends.
#[inline]
pub(in crate::server) fn tell(ctx: &Context<'_>, outer: OuterStart) {
    let main = ctx.main();
    let start = NOTIFICATIONS.of(main).borrow().start;
    let mut next = start;
    // Read one by one: a listener's calls come and go behind them.
    while let Some(one) = {
        let all = NOTIFICATIONS.of(main).borrow();
        all.noted.get(next).copied()
    } {
        one.tell(ctx);
        next += 1;
    }
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    all.noted.truncate(start);
    all.start = outer.0;
}

impl Notification {
    fn tell(self, ctx: &Context<'_>) {
        assert_idle();
        let send = || {
            // SAFETY: the context is live, the event static, and the name held.
            unsafe {
                call!(RedisModule_NotifyKeyspaceEvent(ctx.raw(), self.class, self.event.as_ptr(), self.name));
            }
        };
        if ctx.database() == self.database {
            send();
        } else {
            ctx.in_database(self.database, send);
        }
        // SAFETY: held by `note`, and not used afterwards.
        unsafe { call!(RedisModule_FreeString(std::ptr::null_mut(), self.name)) }
    }
}
