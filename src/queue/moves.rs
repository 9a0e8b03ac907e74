//! The events that can move a queue, and the timer for the next look.

use super::key_filter;
use super::state::{any_waiting, with};
use crate::server::context::{self};
use crate::server::ffi::args::Arg;
use crate::server::ffi::reply::signed;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use std::time::Instant;

/// Sets the timer for the queue that is to be looked at next.
pub(super) fn set_timer(main: MainThread) {
    let now = context::now(main);
    let (look, end) = with(main, |queues| (queues.next(now), queues.next_end()));
    let look = look.map(|due| due.millis_after(now));
    let next = if context::debug_clock_is_set(main) {
        // Under the debug clock, time passes only by command.
        look.filter(|ms| *ms == 0)
    } else {
        let end = end.map(|end| end.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000));
        look.into_iter().chain(end.and_then(|ms| u64::try_from(ms).ok())).min()
    };
    wake_timer::set(main, next.map(signed));
}

/// Looks at the queue of a key that was changed. The server may not tell the database.
fn touched(main: MainThread, name: Arg<'_>, database: Option<i32>) {
    if key_filter::may_contain(name.bytes()) {
        touched_in(main, name.bytes(), database);
    }
}

fn touched_in(main: MainThread, name: &[u8], database: Option<i32>) {
    let touched = with(main, |queues| {
        if let Some(database) = database {
            return queues.waiters.touch(&(database, name.into()));
        }
        queues.waiters.touch_all(|(_, key)| **key == *name);
        true
    });
    if touched {
        set_timer(main);
    }
}

/// Looks at all queues, because policies or defaults changed.
pub fn limits_changed(main: MainThread) {
    if any_waiting() {
        with(main, |queues| queues.waiters.touch_all(|_| true));
        set_timer(main);
    }
}

pub(super) fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    if !any_waiting() {
        return;
    }
    match what {
        KeyspaceChange::ValueLeft { name, database } => return touched(main, name, database),
        KeyspaceChange::ValueChanged { name, database } => return touched(main, name, Some(database)),
        KeyspaceChange::ToDatabase(db) => {
            with(main, |queues| queues.waiters.touch_all(|db_key| db_key.0 == db));
        }
        KeyspaceChange::Swapped(one, other) => {
            with(main, |queues| queues.waiters.touch_all(|db_key| db_key.0 == one || db_key.0 == other));
        }
        KeyspaceChange::ToAll => with(main, |queues| queues.waiters.touch_all(|_| true)),
        KeyspaceChange::Arrived { .. } | KeyspaceChange::FlushBegins => return,
    }
    set_timer(main);
}
