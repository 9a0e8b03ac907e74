//! Whether the server would accept a client's write now.
//!
//! The server refuses a client's write when too few replicas are connected, a disk fails, memory is
//! at its limit, or writes are paused. It does not check this for a module's timer, nor for a
//! command that is not flagged as a write. Code that writes from there asks here first.

use crate::server::context::Context;
use redis_module::raw;
use std::ffi::CStr;

/// True if a timer may make a change now.
pub fn may_write(ctx: &Context<'_>) -> bool {
    !ctx.must_not_propagate() && !is_out_of_memory(ctx) && refusal(ctx).is_none()
}

/// The error with which the server would refuse a client's write now, for another reason than
/// memory.
pub fn refusal(ctx: &Context<'_>) -> Option<String> {
    if has_dry_run() {
        // RL.NODE is flagged as a write, and a dry run of it sends nothing to anybody.
        return dry_run(ctx, c"RL.NODE", c"SDv", &[b"0"]);
    }
    too_few_replicas(ctx).or_else(|| failing_disk(ctx))
}

/// True if the server refuses commands that take memory: it is at `maxmemory` and could not make
/// room.
pub fn is_out_of_memory(ctx: &Context<'_>) -> bool {
    let flags = ctx.flags();
    if !flags.out_of_memory() {
        return false;
    }
    // A server that evicts keys stays above the limit until the next command makes room.
    !flags.evicts()
        || has_dry_run()
            && dry_run(ctx, c"RL.POLICY", c"MDv", &[b"SET", b"x", b"1/s"])
                .is_some_and(|error| error.starts_with("OOM"))
}

/// True if the server can say what it would answer, without running the command (7.2 and later).
fn has_dry_run() -> bool {
    // SAFETY: only reads the pointer. A server of 7.2 or later has this function.
    unsafe { raw::RedisModule_SetCommandACLCategories }.is_some()
}

/// The error that the server would send before it ran the command.
fn dry_run(ctx: &Context<'_>, command: &CStr, format: &CStr, words: &[&[u8]]) -> Option<String> {
    // There is no reply if the server would run the command.
    ctx.ask(command, format, words, |reply| reply.is_error().then(|| reply.string()))?
}

/// Counts replicas as Redis 6.2 and 7.0 do.
fn too_few_replicas(ctx: &Context<'_>) -> Option<String> {
    let good = ctx.server_number(c"replication", c"min_slaves_good_slaves")?;
    let wanted: u64 = ctx.server_setting(c"min-replicas-to-write")?.parse().ok()?;
    (good < wanted).then(|| "NOREPLICAS Not enough good replicas to write.".to_owned())
}

/// Looks at the last save and the last write of the AOF, as Redis 6.2 and 7.0 do.
fn failing_disk(ctx: &Context<'_>) -> Option<String> {
    let failed = |field: &CStr| ctx.server_text(c"persistence", field).is_some_and(|status| status != "ok");
    let set = |name: &CStr| ctx.server_setting(name).unwrap_or_default();
    let save = failed(c"rdb_last_bgsave_status")
        && set(c"stop-writes-on-bgsave-error") == "yes"
        && !set(c"save").is_empty();
    let aof = ctx.flags().writes_aof() && failed(c"aof_last_write_status");
    (save || aof).then(|| {
        "MISCONF Redis is not able to persist on disk, so commands that may modify the data set are \
         disabled. Please check the Redis logs for details about the error."
            .to_owned()
    })
}
