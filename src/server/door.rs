//! Whether the server would take a client's write now.
//!
//! What it refuses to clients (too few good replicas, a disk that fails, memory at its
//! limit, a pause) it does not refuse to a timer of a module, nor to a command that is
//! not flagged as a write. Who writes from there asks first.

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::call::{OwnedString, text_of};
use redis_module::raw;
use std::ffi::CStr;

/// True when a change may be made from a timer now.
pub fn is_open(ctx: &Context<'_>) -> bool {
    !ctx.must_not_propagate() && !is_out_of_memory(ctx) && refusal(ctx).is_none()
}

/// The error that the server answers to a write of a client now, for another reason
/// than memory.
pub fn refusal(ctx: &Context<'_>) -> Option<String> {
    if has_dry_run() {
        // Writes, and is told to nobody.
        return dry_run(ctx, c"RL.NODE", c"SDv", &[b"0"]);
    }
    too_few_replicas(ctx).or_else(|| failing_disk(ctx))
}

/// True when the server refuses what takes memory: it is at `maxmemory` and could not
/// make room for the command.
pub fn is_out_of_memory(ctx: &Context<'_>) -> bool {
    let flags = ctx.flags();
    if !flags.out_of_memory() {
        return false;
    }
    // Where keys are evicted memory is beyond its limit until the next command makes room.
    !flags.evicts()
        || has_dry_run()
            && dry_run(ctx, c"RL.POLICY", c"MDv", &[b"SET", b"x", b"1/s"])
                .is_some_and(|error| error.starts_with("OOM"))
}

/// From 7.2 on the server itself says what it would answer.
fn has_dry_run() -> bool {
    // SAFETY: only reads the pointer, which stands for the generation of the server.
    unsafe { raw::RedisModule_SetCommandACLCategories }.is_some()
}

/// The error that the command would get before it runs.
fn dry_run(ctx: &Context<'_>, command: &CStr, format: &CStr, words: &[&[u8]]) -> Option<String> {
    let strings: Vec<_> = words.iter().map(|word| OwnedString::new(ctx, word)).collect();
    let mut vector: Vec<_> = strings.iter().map(|string| string.arg().raw()).collect();
    // SAFETY: the context is live; the format matches a vector and its length; the
    // reply, null where nothing stands in the way, is freed.
    unsafe {
        let reply = call!(RedisModule_Call(
            ctx.raw(),
            command.as_ptr(),
            format.as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
        if reply.is_null() {
            return None;
        }
        let error = (call!(RedisModule_CallReplyType(reply)) == constant(raw::REDISMODULE_REPLY_ERROR))
            .then(|| String::from_utf8_lossy(&text_of(reply)).into_owned());
        call!(RedisModule_FreeCallReply(reply));
        error
    }
}

/// As Redis 6.2 and 7.0 count.
fn too_few_replicas(ctx: &Context<'_>) -> Option<String> {
    let good = ctx.server_number(c"replication", c"min_slaves_good_slaves")?;
    let wanted: u64 = ctx.server_setting(c"min-replicas-to-write")?.parse().ok()?;
    (good < wanted).then(|| "NOREPLICAS Not enough good replicas to write.".to_owned())
}

/// As Redis 6.2 and 7.0 look at the last save and the last write of the AOF.
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
