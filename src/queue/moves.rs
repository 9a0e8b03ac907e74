//! What moves a line, and when to look at it.

use super::key_filter;
use super::state::{any, with};
use crate::limiter::reply::signed;
use crate::server::context::{self};
use crate::server::ffi::args::Arg;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;

/// Sets the alarm for the line that is to be looked at next.
pub(super) fn plan(main: MainThread) {
    let now = context::now(main);
    let next = with(main, |queues| queues.next(now));
    wake_timer::set(
        main,
        match next {
            // Under the debug clock time passes only by command.
            Some(due) if due > now && context::debug_clock_is_set(main) => None,
            Some(due) => Some(signed(due.millis_after(now))),
            None => None,
        },
    );
}

/// Something was done to a key, of which database the server may not tell.
fn touched(main: MainThread, name: Arg<'_>, database: Option<i32>) {
    if key_filter::perhaps(name.bytes()) {
        touched_in(main, name.bytes(), database);
    }
}

fn touched_in(main: MainThread, name: &[u8], database: Option<i32>) {
    let touched = with(main, |queues| {
        if let Some(database) = database {
            return queues.by_key.touch(&(database, name.into()));
        }
        queues.by_key.touch_all(|(_, key)| **key == *name);
        true
    });
    if touched {
        plan(main);
    }
}

/// What keys may take has changed on the whole server: policies, defaults.
pub fn limits_changed(main: MainThread) {
    if any() {
        with(main, |queues| queues.by_key.touch_all(|_| true));
        plan(main);
    }
}

pub(super) fn happened(main: MainThread, what: KeyspaceChange<'_>) {
    if !any() {
        return;
    }
    match what {
        KeyspaceChange::ValueLeft { name, database } => return touched(main, name, database),
        KeyspaceChange::ValueChanged { name, database } => return touched(main, name, Some(database)),
        KeyspaceChange::ToDatabase(db) => with(main, |queues| queues.by_key.touch_all(|place| place.0 == db)),
        KeyspaceChange::Swapped(one, other) => {
            with(main, |queues| queues.by_key.touch_all(|place| place.0 == one || place.0 == other));
        }
        KeyspaceChange::ToAll => with(main, |queues| queues.by_key.touch_all(|_| true)),
        KeyspaceChange::Arrived { .. } | KeyspaceChange::FlushBegins => return,
    }
    plan(main);
}
