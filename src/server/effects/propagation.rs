//! Whether anybody receives what is propagated: a replica, the replication backlog, or the AOF.
//!
//! **Optimisation.** The server builds a command's arguments and looks the command up by name
//! before it finds that nobody wants them. A bucket's grant took 11 200 instructions with that and
//! takes 8 500 without. A key of a batch took 14 460 and takes 7 010 (commit 983eefb). So while it
//! is certain that nobody listens, changes are only counted. The plain version always propagates.
//! `tests/server/durability/audience.rs` compares what replicas and the AOF get from both.
//!
//! The certainty comes from INFO, and lasts until something could have changed the answer. A new
//! listener cannot start unnoticed:
//!
//! * A new replica begins with a full synchronisation, and the AOF begins with a rewrite. Both are
//!   written by a forked child, whose snapshot holds every change before the fork.
//! * A replica that resumes without a full synchronisation needs a backlog. INFO shows the backlog,
//!   unless it came with a change of role.
//!
//! The server notifies modules of forks and of changes of role. After one of them everything is
//! propagated until INFO has been read again. In a cluster everything is always propagated, because
//! slots move in further ways.

use crate::server::context::Context;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;

#[derive(Clone, Copy, Debug)]
enum Audience {
    /// The server does not announce every event that matters, so everything is propagated.
    Unknown,
    /// Somebody may listen. `since` changes have been made since INFO was read.
    Perhaps { since: u32 },
    /// Nobody listens.
    Nobody,
}

static AUDIENCE: MainThreadCell<Audience> = MainThreadCell::new(Audience::Unknown);

/// The number of changes between two readings of INFO. One reading costs the server about 20 µs.
const ASK_AFTER: u32 = 1024;

/// Starts the optimisation. Call it where the server announces every event that can add a listener.
pub(in crate::server) fn begin(ctx: &Context<'_>) {
    // SAFETY: only reads the pointer. A server of 7.0 or later has this function; older ones queue
    // what is propagated even if nobody listens.
    let modern = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
    if modern {
        *AUDIENCE.of(ctx.main()).borrow_mut() = Audience::Perhaps { since: 0 };
    }
}

/// Records that a listener may have been added.
pub(in crate::server) fn changed(ctx: &Context<'_>) {
    let mut audience = AUDIENCE.of(ctx.main()).borrow_mut();
    if matches!(*audience, Audience::Nobody) {
        *audience = Audience::Perhaps { since: 0 };
    }
}

/// True if nobody listened when INFO was last read and nothing happened since. Never reads INFO.
pub(in crate::server) fn is_known_absent(main: MainThread) -> bool {
    matches!(*AUDIENCE.of(main).borrow(), Audience::Nobody)
}

/// True if it is certain that nobody receives a change made now. Reads INFO when it is due.
pub(in crate::server) fn is_absent(ctx: &Context<'_>) -> bool {
    let mut audience = AUDIENCE.of(ctx.main()).borrow_mut();
    match &mut *audience {
        Audience::Unknown => false,
        Audience::Nobody => true,
        Audience::Perhaps { since } if *since < ASK_AFTER => {
            *since += 1;
            false
        }
        Audience::Perhaps { .. } => {
            let nobody = ask(ctx);
            *audience = if nobody { Audience::Nobody } else { Audience::Perhaps { since: 0 } };
            nobody
        }
    }
}

/// Reads INFO. True for a master without replicas, backlog, AOF and cluster mode.
fn ask(ctx: &Context<'_>) -> bool {
    [
        (c"replication", c"connected_slaves"),
        (c"replication", c"repl_backlog_active"),
        (c"persistence", c"aof_enabled"),
        (c"cluster", c"cluster_enabled"),
    ]
    .into_iter()
    .all(|(section, field)| ctx.server_number(section, field) == Some(0))
        && ctx.flags().master()
}
