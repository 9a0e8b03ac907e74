//! Keyspace events, told once the command that caused them touches nothing any more.
//!
//! Other modules listen to keyspace events and may call any command from there, ours
//! too. So an event is only noted where a key changes; [`tell`] hands all of them to
//! the server at the end of the call, when no key is open and no cell is borrowed.
//!
//! **Optimisation.** Where no other module is loaded nobody can call, and an event is
//! told at once: a grant that moves its key's end takes 1.2 % of a SET less (commit
//! 115af02, release build). The plain version is the list, which
//! `tests/server/listener.rs` drives.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell, assert_idle};
use crate::server::neighbours;
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
    /// The last one of the call at hand. Its name is only compared.
    last: Option<Notification>,
    noted: Vec<Notification>,
    /// Where those of the call at hand start: a listener's own calls come inside ours.
    start: usize,
}

static NOTIFICATIONS: MainThreadCell<Notifications> =
    MainThreadCell::new(Notifications { last: None, noted: Vec::new(), start: 0 });

/// Where the events of the call around this one start.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct OuterStart(usize);

/// A call begins.
#[inline]
pub(in crate::server) fn begin(main: MainThread) -> OuterStart {
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    let outer = OuterStart(all.start);
    all.start = all.noted.len();
    all.last = None;
    outer
}

/// Notes an event of a key of the context's database. What is the same as the last
/// one is told once.
pub(super) fn note(ctx: &Context<'_>, class: c_int, event: &'static CStr, name: Arg<'_>) {
    let notification = Notification { name: name.raw(), database: ctx.database(), class, event };
    let others = neighbours::are_there(ctx);
    let mut all = NOTIFICATIONS.of(ctx.main()).borrow_mut();
    if all.last.is_some_and(|last| last.is_same(&notification)) {
        return;
    }
    all.last = Some(notification);
    if others {
        // SAFETY: the name is a live string; without a context it is only counted.
        unsafe { call!(RedisModule_RetainString(std::ptr::null_mut(), name.raw())) }
        all.noted.push(notification);
    } else {
        drop(all);
        notification.send(ctx);
    }
}

/// Tells what the call at hand has noted, in order; the call ends.
#[inline]
pub(in crate::server) fn tell(ctx: &Context<'_>, outer: OuterStart) {
    let mut all = NOTIFICATIONS.of(ctx.main()).borrow_mut();
    if all.noted.len() > all.start {
        drop(all);
        tell_noted(ctx, outer);
    } else {
        all.start = outer.0;
    }
}

fn tell_noted(ctx: &Context<'_>, outer: OuterStart) {
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
    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.name, other.name)
            && (self.database, self.class) == (other.database, other.class)
            && std::ptr::eq(self.event, other.event)
    }

    /// Hands it to the server, in the context's own database.
    fn send(self, ctx: &Context<'_>) {
        // SAFETY: the context is live, the event static, and the name held.
        unsafe {
            call!(RedisModule_NotifyKeyspaceEvent(ctx.raw(), self.class, self.event.as_ptr(), self.name));
        }
    }

    fn tell(self, ctx: &Context<'_>) {
        assert_idle();
        if ctx.database() == self.database {
            self.send(ctx);
        } else {
            ctx.in_database(self.database, || self.send(ctx));
        }
        // SAFETY: held by `note`, and not used afterwards.
        unsafe { call!(RedisModule_FreeString(std::ptr::null_mut(), self.name)) }
    }
}
