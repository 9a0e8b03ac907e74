//! What time alone does to values, as far as it is counted: forces and openings of breakers that
//! end, lost trials, and reservations that end.

use crate::core::time::Micros;
use crate::server::context::{self, Context};
use crate::server::events::{Event, EventListener};
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::state_counts;
use crate::types::counting;
use crate::types::name_index;
use crate::types::ratelimit::reservations;

/// Applies to the gauges and counts what has ended by now.
pub fn advance(main: MainThread) {
    advance_to(context::now(main));
}

/// The same, for a value that leaves its key. It may leave because its time is over, which the
/// server finds by its own clock in the middle of a command. If nothing is planned, the clock is not
/// read: most values that leave are limits that are full again.
fn advance_to_the_moment(main: MainThread) {
    if reservations::is_planned() || state_counts::is_planned() {
        advance_to(context::now(main).max(context::moment(main)));
    }
}

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[
    (Event::Cron, turn),
    (Event::RoleChanged, turn),
    (Event::LoadBegins, |ctx| load(ctx, true)),
    (Event::LoadEnded, |ctx| load(ctx, false)),
    (Event::LoadFailed, |ctx| load(ctx, false)),
];

/// Advances the gauges, and notes which role the server has from now on.
fn turn(ctx: &Context<'_>) {
    advance(ctx.main());
    counting::set_following(!ctx.flags().master());
}

/// Notes that a load begins or is over. What has ended before still counts as before.
fn load(ctx: &Context<'_>, begins: bool) {
    advance(ctx.main());
    counting::set_loading(begins);
}

/// Notes a change that others made to keys.
pub fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    if matches!(what, KeyspaceChange::ValueLeft { .. } | KeyspaceChange::FlushBegins) {
        // The value may leave because its time is over. Then its end counts.
        advance_to_the_moment(main);
    }
    name_index::on_keyspace_change(main, what);
}

fn advance_to(now: Micros) {
    reservations::advance(now);
    state_counts::advance(now);
}
