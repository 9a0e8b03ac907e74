//! Tells replicas and the AOF about copies of tracked keys.
//!
//! COPY is propagated as COPY. But another server may decide differently whether there is room for
//! one more tracked key: its settings may differ, and it frees keys in the background earlier or
//! later. So after a copy, the master propagates the value of the copy.

use super::apply;
use super::error::Error;
use crate::core::time::Micros;
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::OwnedString;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use crate::server::write_check;
use crate::types::counting;
use crate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect};
use crate::types::ratelimit::tracked::TrackedCopy;
use crate::types::ratelimit::{RateLimit, encoding, tracked};

/// The events that this file listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, turn), (Event::RoleChanged, forget)];

/// A copy that is not propagated yet.
#[derive(Debug)]
struct Copied {
    database: i32,
    name: Box<[u8]>,
    /// When the usage would have ended for which there was no room.
    usage_ends: Option<Micros>,
}

static COPIES: MainThreadCell<Vec<Copied>> = MainThreadCell::new(Vec::new());

/// Notes a change that others made to keys.
pub fn on_keyspace_change(main: MainThread, what: KeyspaceChange<'_>) {
    match what {
        KeyspaceChange::Arrived { name, database } => arrived(main, database, name.bytes()),
        KeyspaceChange::Swapped(one, other) => {
            for copy in COPIES.of(main).borrow_mut().iter_mut() {
                if copy.database == one {
                    copy.database = other;
                } else if copy.database == other {
                    copy.database = one;
                }
            }
        }
        _ => {}
    }
}

/// Notes a copy. While one is not propagated yet, any other key that arrives may be that one under
/// another name. What an AOF loads was propagated before.
fn arrived(main: MainThread, database: i32, name: &[u8]) {
    let (copy, mut copies) = (tracked::take_copied(main), COPIES.of(main).borrow_mut());
    if counting::is_loading() || copy.is_none() && copies.is_empty() {
        return;
    }
    let usage_ends = match copy {
        Some(TrackedCopy::Untracked(ends)) => Some(ends),
        Some(TrackedCopy::Tracked) | None => None,
    };
    copies.push(Copied { database, name: name.into(), usage_ends });
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
    for copy in copies {
        // A key that holds another type by now is no longer a copy, so its error is ignored.
        let _ = ctx.in_database(copy.database, || propagate_copy(ctx, &copy));
    }
}

/// Propagates the value of a copy, and the expiry that it has here. If that still is the end of usage
/// for which there was no room, the copy gets the expiry of its own state.
fn propagate_copy(ctx: &Context<'_>, copy: &Copied) -> Result<(), Error> {
    let name = OwnedString::new(ctx, &copy.name);
    let mut key = ctx.write(name.arg());
    let mut payload = Vec::new();
    match key.value::<RateLimit>()? {
        Some(value) => encoding::save(&value, ctx.main(), &mut payload),
        None => return Ok(()),
    }
    let (now, change) = (ctx.now(), RateLimitChange::Become(&payload));
    if copy.usage_ends.is_some_and(|ends| key.expires_at(Some(ends))) {
        let effect = apply::effect(ctx, now, change);
        return apply::commit(ctx, &mut key, &effect, c"rl.copy").map(drop);
    }
    if replicate::is_on(ctx.main()) {
        let effect = RateLimitEffect { now, expires: false, change };
        replicate::effect(ctx, key.name(), |out| effect.encode(out));
        if let Some(at) = key.expiry() {
            let at = at.ceil_millis().to_string();
            replicate::command(ctx, c"PEXPIREAT", &[&copy.name, at.as_bytes()]);
        }
    }
    Ok(())
}
