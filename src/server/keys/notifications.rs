//! Keyspace events, sent when the command that caused them has closed its keys.
//!
//! Other modules listen to keyspace events and may call any command from there, also ours. So an
//! event is only noted when a key changes. [`tell`] hands all of them to the server at the end of
//! the call, when no key is open and no cell is borrowed.
//!
//! **Optimisation.** If no module is loaded but this one and those that come with the server, and
//! the setting `notify-keyspace-events` has no `d`, nobody hears the events of modules, and none is
//! noted. This saves 5 % of the instructions of a key of RL.BATCH EACH on Redis 7.0, and on Redis
//! 8.6, which looks the key up for each event, 4 % of RL.ACQUIRE of three limits on a new key (commit
//! 37560be). The plain version is the list, which `tests/server/module/listener.rs` drives.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::main_thread::{MainThread, MainThreadCell, assert_idle};
use crate::server::other_modules;
use redis_module::raw;
use std::ffi::{CStr, c_int};

/// One event of one key.
#[derive(Clone, Copy, Debug)]
struct Notification {
    /// The name of the key, retained until the event is sent.
    name: *mut raw::RedisModuleString,
    database: i32,
    class: c_int,
    event: &'static CStr,
}

#[derive(Debug)]
struct Notifications {
    /// The last event of the current call. Its name is compared by address, never read.
    last: Option<Notification>,
    noted: Vec<Notification>,
    /// The index in `noted` of the current call's first event. The calls of listeners nest in ours.
    start: usize,
}

static NOTIFICATIONS: MainThreadCell<Notifications> =
    MainThreadCell::new(Notifications { last: None, noted: Vec::new(), start: 0 });

/// Begins a call. Returns the index in `noted` of the first event of the enclosing call.
#[inline]
pub(in crate::server) fn begin(main: MainThread) -> usize {
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    let outer = all.start;
    all.start = all.noted.len();
    all.last = None;
    outer
}

/// Notes an event of a key in the context's database. Repetitions of the last event are dropped.
#[inline]
pub(super) fn note(ctx: &Context<'_>, class: c_int, event: &'static CStr, name: Arg<'_>) {
    if is_heard(ctx, class) {
        note_heard(ctx, class, event, name);
    }
}

fn note_heard(ctx: &Context<'_>, class: c_int, event: &'static CStr, name: Arg<'_>) {
    let notification = Notification { name: name.raw(), database: ctx.database(), class, event };
    let mut all = NOTIFICATIONS.of(ctx.main()).borrow_mut();
    if all.last.is_some_and(|last| last.is_same(&notification)) {
        return;
    }
    all.last = Some(notification);
    // SAFETY: the name is a live string; with a null context only its reference count changes.
    unsafe { call!(RedisModule_RetainString(std::ptr::null_mut(), name.raw())) }
    all.noted.push(notification);
}

/// True if anybody may receive an event of this class: another module, this module (which listens
/// to the class `GENERIC`), or clients.
#[inline]
fn is_heard(ctx: &Context<'_>, class: c_int) -> bool {
    // SAFETY: the function only reads a setting.
    let clients_hear = || unsafe { call!(RedisModule_GetNotifyKeyspaceEvents()) & class != 0 };
    class == raw::REDISMODULE_NOTIFY_GENERIC || other_modules::are_loaded(ctx) || clients_hear()
}

/// Ends the current call. True if it noted no events; else [`tell`] must follow.
#[inline]
pub(in crate::server) fn end_silently(main: MainThread, outer: usize) -> bool {
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    let silent = all.noted.len() == all.start;
    if silent {
        all.start = outer;
    }
    silent
}

/// Sends the events that the current call noted, in order, and ends the call.
pub(in crate::server) fn tell(ctx: &Context<'_>, outer: usize) {
    let main = ctx.main();
    let start = NOTIFICATIONS.of(main).borrow().start;
    let mut next = start;
    // Events are read one by one, because the calls of a listener push and remove events behind
    // them.
    while let Some(one) = {
        let all = NOTIFICATIONS.of(main).borrow();
        all.noted.get(next).copied()
    } {
        one.tell(ctx);
        next += 1;
    }
    let mut all = NOTIFICATIONS.of(main).borrow_mut();
    all.noted.truncate(start);
    all.start = outer;
}

impl Notification {
    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.name, other.name)
            && (self.database, self.class) == (other.database, other.class)
            && std::ptr::eq(self.event, other.event)
    }

    /// Hands the event to the server.
    fn tell(self, ctx: &Context<'_>) {
        assert_idle();
        // SAFETY: the context is live, the event static, and the name held.
        let send = || unsafe {
            call!(RedisModule_NotifyKeyspaceEvent(ctx.raw(), self.class, self.event.as_ptr(), self.name));
        };
        if ctx.database() == self.database {
            send();
        } else {
            ctx.in_database(self.database, send);
        }
        // SAFETY: `note` retained the name, and it is not used afterwards.
        unsafe { call!(RedisModule_FreeString(std::ptr::null_mut(), self.name)) }
    }
}
