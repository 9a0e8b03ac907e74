//! Copies of tracked keys. COPY travels as COPY, and whether there is room for one
//! more tracked key is another question on another node: its settings may differ, and
//! what it frees in the background goes earlier or later. So a master tells its
//! replicas and its AOF afterwards what a copy is.

use super::apply;
use super::error::Error;
use crate::server::context::Context;
use crate::server::door;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::call::OwnedString;
use crate::server::keys::keyspace::KeyspaceChange;
use crate::server::main_thread::{MainThread, MainThreadCell};
use crate::server::timing::timer;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::{RateLimit, encoding, tracked};

/// What this part listens to.
pub const LISTENERS: &[EventListener] = &[(Event::Cron, turn)];

/// The copies that nobody was told of yet, each with its database.
static COPIES: MainThreadCell<Vec<(i32, Box<[u8]>)>> = MainThreadCell::new(Vec::new());

/// Takes note of what others did to keys.
pub fn happened(main: MainThread, what: KeyspaceChange<'_>) {
    if let KeyspaceChange::Arrived { name, database } = what
        && tracked::take_copied(main)
    {
        COPIES.of(main).borrow_mut().push((database, name.bytes().into()));
    }
}

fn turn(ctx: &Context<'_>) {
    if !COPIES.of(ctx.main()).borrow().is_empty() {
        timer::after(ctx, 0, tell);
    }
}

/// Makes each copy what it is, in one effect for all. While the server takes no writes, its
/// timer comes again.
fn tell(ctx: &Context<'_>) {
    if !door::is_open(ctx) {
        return;
    }
    let copies = std::mem::take(&mut *COPIES.of(ctx.main()).borrow_mut());
    if !ctx.flags().master() {
        return;
    }
    for (database, name) in copies {
        // A key that holds something else by now is nobody's copy.
        let _ = ctx.in_database(database, || settle(ctx, &name));
    }
}

/// The copy also has the expiry of its own state, and no longer that of the first.
fn settle(ctx: &Context<'_>, name: &[u8]) -> Result<(), Error> {
    let string = OwnedString::new(ctx, name);
    let mut key = ctx.write(string.arg());
    let mut payload = Vec::new();
    match key.value::<RateLimit>()? {
        Some(value) => encoding::save(&value, ctx.main(), &mut payload),
        None => return Ok(()),
    }
    let effect = apply::effect(ctx, ctx.now(), RateLimitChange::Become { payload: &payload });
    apply::commit(ctx, &mut key, &effect, c"rl.copy").map(|_| ())
}
