//! Policies in an AOF that is rewritten, and in a dataset that is loaded.

use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::events::{Event, EventListener};
use crate::server::timing::timer;
use crate::types::effect::policy::COMMAND;
use crate::types::policies::node;

/// The events that policies listen to. A dataset that is loaded brings its own policies, or none.
pub const LISTENERS: &[EventListener] = &[
    (Event::LoadBegins, |ctx| node::load_begins(ctx.main())),
    (Event::LoadEnded, |ctx| node::load_ended(ctx.main(), true)),
    (Event::LoadFailed, |ctx| node::load_ended(ctx.main(), false)),
    (Event::Forked, forked),
];

/// Writes the policies into the AOF after a child was forked that rewrites it without an RDB
/// preamble.
///
/// The child writes the policies beside its first key of ours (see `server::keys::data_type`). If
/// it has no such key, it writes none. So they also go into the part of the AOF that follows the
/// child's part, where a repetition does no harm. Other children need nothing. So an idle server
/// that saves does not get something new to save.
///
/// This is not done at once: the server would take what is propagated now for an effect of the
/// command that forked, and would propagate BGREWRITEAOF itself.
fn forked(ctx: &Context<'_>) {
    let rewrites = || ctx.server_number(c"persistence", c"aof_rewrite_in_progress") == Some(1);
    let preamble = || ctx.server_setting(c"aof-use-rdb-preamble").as_deref() == Some("yes");
    if node::save(ctx.main()).is_some() && rewrites() && !preamble() {
        timer::after(ctx, 0, repeat);
    }
}

fn repeat(ctx: &Context<'_>) {
    const PATIENCE_MS: i64 = 5;
    if ctx.must_not_propagate() {
        timer::after(ctx, PATIENCE_MS, repeat);
    } else if let Some(payload) = node::save(ctx.main()) {
        replicate::to_aof_only(ctx, COMMAND, &[&payload]);
    }
}
