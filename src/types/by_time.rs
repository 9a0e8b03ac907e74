//! What time does to values that nobody touches, as far as it is counted: forced
//! and open breakers, lost trials, reservations.

use crate::core::time::Micros;
use crate::server::context::{self, Context};
use crate::server::events::{Event, EventListener};
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::not_closed::NOT_CLOSED;
use crate::types::cbcircuit::state_counts;
use crate::types::counting;
use crate::types::ratelimit::reservations;

/// Lets what has ended by now have ended.
pub fn advance(main: MainThread) {
    advance_to(context::now(main));
}

/// The same, where a value leaves its key. It may do so since its time is over, which
/// the server finds by its own clock in the middle of a command.
fn advance_to_the_moment(main: MainThread) {
    advance_to(context::now(main).max(context::moment(main)));
}

/// What this part listens to.
pub const LISTENERS: &[EventListener] = &[
    (Event::Cron, turn),
    (Event::RoleChanged, turn),
    (Event::LoadBegins, |ctx| load(ctx, true)),
    (Event::LoadEnded, |ctx| load(ctx, false)),
    (Event::LoadFailed, |ctx| load(ctx, false)),
];

/// Some time has passed, or the server has another role from now on.
fn turn(ctx: &Context<'_>) {
    advance(ctx.main());
    counting::set_following(!ctx.flags().master());
}

/// A load begins, or is over. What has ended until then counts as before.
fn load(ctx: &Context<'_>, begins: bool) {
    advance(ctx.main());
    counting::set_loading(begins);
}

/// Takes note of what others did to keys.
pub fn happened(main: MainThread, what: KeyspaceChange<'_>) {
    if matches!(what, KeyspaceChange::ValueLeft { .. } | KeyspaceChange::FlushBegins) {
        // It may leave since its time is over: then that counts.
        advance_to_the_moment(main);
    }
    NOT_CLOSED.happened(main, what);
}

fn advance_to(now: Micros) {
    reservations::advance(now);
    state_counts::advance(now);
}
