//! Whether anybody hears what is propagated: a replica, its backlog, the AOF.
//!
//! **Optimisation.** The server builds a command's arguments and looks the command up
//! by name before it finds that nobody wants them. A bucket's grant took 11 200
//! instructions with that and takes 8 500 without; a key of a batch 14 460 and 7 010
//! (commit 983eefb). Where it is certain that nobody listens, changes are therefore
//! only counted. The plain version propagates always; `tests/server/audience.rs` compares
//! what replicas and the AOF get.
//!
//! Certain is what the server said of itself (INFO) as long as nothing can have
//! changed it. Nobody starts to listen unseen: a new replica begins with a full
//! synchronisation and the AOF with a rewrite, both from the snapshot of a
//! forked child, which holds every change made before the fork; a replica goes
//! on without one only where there is a backlog, which INFO shows, or which came
//! with a change of role. Forks and changes of role are told to modules, and
//! from then on everything is propagated until the server was asked again. In a
//! cluster, where slots move by yet other ways, everything is.

use crate::server::context::Context;
use crate::server::ffi::api::call;
use crate::server::main_thread::{MainThread, MainThreadCell};
use redis_module::raw;

#[derive(Clone, Copy, Debug)]
enum Audience {
    /// The server does not tell all it would take: everything is propagated.
    Unknown,
    /// Somebody may be there; so many changes since the server was asked.
    Perhaps { since: u32 },
    /// Nobody is.
    Nobody,
}

static AUDIENCE: MainThreadCell<Audience> = MainThreadCell::new(Audience::Unknown);

/// Asking costs the server some 20 µs; spread over so many changes that is nothing.
const ASK_AFTER: u32 = 1024;

/// Whether everything that could change the audience is told to the module.
pub(in crate::server) fn watched(ctx: &Context<'_>, all: bool) {
    // SAFETY: only reads the pointer, which stands for the generation of the server:
    // before 7.0 propagation was queued whether or not anybody listened.
    let modern = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
    if all && modern {
        *AUDIENCE.of(ctx.main()).borrow_mut() = Audience::Perhaps { since: 0 };
    }
}

/// The audience may have changed.
pub(in crate::server) fn changed(ctx: &Context<'_>) {
    let mut audience = AUDIENCE.of(ctx.main()).borrow_mut();
    if matches!(*audience, Audience::Nobody) {
        *audience = Audience::Perhaps { since: 0 };
    }
}

/// What [`is_absent`] would say, without asking the server anew.
pub(in crate::server) fn is_known_absent(main: MainThread) -> bool {
    matches!(*AUDIENCE.of(main).borrow(), Audience::Nobody)
}

/// True when it is certain that nobody hears of a change made now.
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

/// Asks the server whether it is a master without replicas, backlog, AOF and cluster.
fn ask(ctx: &Context<'_>) -> bool {
    [
        (c"replication", c"connected_slaves"),
        (c"replication", c"repl_backlog_active"),
        (c"persistence", c"aof_enabled"),
        (c"cluster", c"cluster_enabled"),
    ]
    .into_iter()
    .all(|(section, field)| {
        let mut error = 0;
        // SAFETY: the context is live, the names are C strings, the data is freed.
        let number = unsafe {
            let data = call!(RedisModule_GetServerInfo(ctx.raw(), section.as_ptr()));
            let number = call!(RedisModule_ServerInfoGetFieldUnsigned(data, field.as_ptr(), &raw mut error));
            call!(RedisModule_FreeServerInfo(ctx.raw(), data));
            number
        };
        error == 0 && number == 0
    }) && ctx.flags().master()
}
