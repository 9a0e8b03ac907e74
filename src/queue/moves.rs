//! The events that can move a queue, and the timer for the next look.

use super::key_filter;
use super::state::{any_waiting, with};
use crate::server::context;
use crate::server::ffi::args::Arg;
use crate::server::ffi::reply::signed;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;
use crate::server::timing::wake_timer;
use crate::types::db_key::DbKey;
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
    let name = name.bytes();
    if !key_filter::may_contain(name) {
        return;
    }
    let Some(database) = database else { return touch_all(main, |db_key| *db_key.name == *name) };
    if with(main, |queues| queues.waiters.touch(&DbKey::new(database, name))) {
        set_timer(main);
    }
}

/// Looks at the queues of these keys.
fn touch_all(main: MainThread, is_one: impl Fn(&DbKey) -> bool) {
    with(main, |queues| queues.waiters.touch_all(is_one));
    set_timer(main);
}

/// Looks at all queues, because policies or defaults changed.
pub fn limits_changed(main: MainThread) {
    if any_waiting() {
        touch_all(main, |_| true);
    }
}

pub(super) fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    if !any_waiting() {
        return;
    }
    match what {
        KeyspaceChange::ValueLeft { name, database } => touched(main, name, database),
        KeyspaceChange::ValueChanged { name, database } => touched(main, name, Some(database)),
        KeyspaceChange::ToDatabase(db) => touch_all(main, |db_key| db_key.database == db),
        KeyspaceChange::Swapped(one, other) => {
            touch_all(main, |db_key| db_key.database == one || db_key.database == other);
        }
        KeyspaceChange::ToAll => touch_all(main, |_| true),
        KeyspaceChange::Arrived { .. } | KeyspaceChange::FlushBegins => {}
    }
}
