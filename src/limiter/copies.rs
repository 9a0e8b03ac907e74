//! Tells replicas and the AOF about copies of tracked keys.
//!
//! COPY is propagated as COPY. But another server may decide differently whether there is room for
//! one more tracked key: its settings may differ, and it frees keys in the background earlier or
//! later. So after a copy, the master propagates the value of the copy.

use super::apply;
use super::error::Error;
use crate::server::context::Context;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::OwnedString;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use crate::server::write_check;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::{RateLimit, encoding, tracked};

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, turn), (Event::RoleChanged, forget)];

/// The copies that are not propagated yet, each with its database.
static COPIES: MainThreadCell<Vec<(i32, Box<[u8]>)>> = MainThreadCell::new(Vec::new());

/// Notes a change that others made to keys.
pub fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    if let KeyspaceChange::Arrived { name, database } = what
        && tracked::take_copied(main)
    {
        COPIES.of(main).borrow_mut().push((database, name.bytes().into()));
    }
}

fn turn(ctx: &Context<'_>) {
    if !COPIES.of(ctx.main()).borrow().is_empty() {
        timer::after(ctx, 0, propagate_copies);
    }
}

/// Forgets the copies that a replica has seen and a new master does not have to tell, for its own
/// master told about them.
fn forget(ctx: &Context<'_>) {
    COPIES.of(ctx.main()).borrow_mut().clear();
}

/// Propagates the value of each copy. While the server takes no writes, the copies wait for the
/// next turn of its timer. A replica has nothing to propagate, and forgets them.
fn propagate_copies(ctx: &Context<'_>) {
    if !ctx.flags().master() {
        return forget(ctx);
    }
    if !write_check::may_write(ctx) {
        return;
    }
    let copies = std::mem::take(&mut *COPIES.of(ctx.main()).borrow_mut());
    for (database, name) in copies {
        // A key that holds another type by now is no longer a copy, so its error is ignored.
        let _ = ctx.in_database(database, || propagate_copy(ctx, &name));
    }
}

/// Makes the copy have the expiry of its own state, and no longer that of the original.
fn propagate_copy(ctx: &Context<'_>, name: &[u8]) -> Result<(), Error> {
    let string = OwnedString::new(ctx, name);
    let mut key = ctx.write(string.arg());
    let mut payload = Vec::new();
    match key.value::<RateLimit>()? {
        Some(value) => encoding::save(&value, ctx.main(), &mut payload),
        None => return Ok(()),
    }
    let effect = apply::effect(ctx, ctx.now(), RateLimitChange::Become(&payload));
    apply::commit(ctx, &mut key, &effect, c"rl.copy").map(|_| ())
}
