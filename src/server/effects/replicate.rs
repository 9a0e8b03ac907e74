//! The door by which changes leave for replicas and the AOF.

use crate::server::context::Context;
use crate::server::effects::propagation;
use crate::server::ffi::api::call;
use crate::server::ffi::args::Arg;
use crate::server::ffi::call::OwnedString;
use crate::server::main_thread::{MainThread, MainThreadCell};
use std::ffi::CStr;

/// The internal command that carries effects on keys: `RL.EFFECT key payload [key payload …]`.
pub const EFFECT: &CStr = c"RL.EFFECT";

/// The buffer in which payloads are built, so that none is allocated.
static PAYLOAD: MainThreadCell<Vec<u8>> = MainThreadCell::new(Vec::new());

/// True if changes are propagated at present. INFO shows it.
pub fn is_on(main: MainThread) -> bool {
    !propagation::is_known_absent(main)
}

/// Propagates an effect on `key`, whose payload `encode` appends. If it is certain that nobody
/// receives it, it is not even encoded, and the server only counts a change for its save points.
pub fn effect(ctx: &Context<'_>, key: Arg<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
    if propagation::is_absent(ctx) {
        // The server drops the command itself, because nobody receives it.
        return verbatim(ctx);
    }
    let mut payload = PAYLOAD.of(ctx.main()).borrow_mut();
    payload.clear();
    encode(&mut payload);
    // SAFETY: all pointers are live, and the format matches: a string, a buffer with its length.
    unsafe {
        call!(RedisModule_Replicate(
            ctx.raw(),
            EFFECT.as_ptr(),
            c"sb".as_ptr(),
            key.raw(),
            payload.as_ptr(),
            payload.len()
        ));
    }
}

/// Several effects that are propagated as one command.
#[derive(Debug)]
pub struct EffectBatch<'a> {
    /// False if it is certain that nobody receives the effects.
    is_heard: bool,
    is_empty: bool,
    /// The key of each effect, and where its payload ends. Empty if nobody receives them.
    parts: Vec<(Arg<'a>, usize)>,
    payloads: Vec<u8>,
}

impl<'a> EffectBatch<'a> {
    /// Runs `apply`, and propagates all effects that it added. It does so even if `apply` fails,
    /// because what has changed on this server must change on its replicas.
    #[inline]
    pub fn run<R>(ctx: &Context<'_>, apply: impl FnOnce(&mut Self) -> R) -> R {
        let is_heard = !propagation::is_absent(ctx);
        let mut batch = Self { is_heard, is_empty: true, parts: Vec::new(), payloads: Vec::new() };
        let result = apply(&mut batch);
        batch.propagate(ctx);
        result
    }

    /// Adds an effect on `key`, whose payload `encode` appends.
    pub fn add(&mut self, key: Arg<'a>, encode: impl FnOnce(&mut Vec<u8>)) {
        self.is_empty = false;
        if self.is_heard {
            encode(&mut self.payloads);
            self.parts.push((key, self.payloads.len()));
        }
    }

    /// Propagates all effects of the batch.
    fn propagate(&self, ctx: &Context<'_>) {
        match (self.is_empty, self.is_heard) {
            (true, _) => return,
            (false, false) => return verbatim(ctx),
            (false, true) => {}
        }
        let mut start = 0;
        let payload = |&(_, end): &(Arg<'_>, usize)| {
            let bytes = self.payloads.get(start..end).unwrap_or_default();
            start = end;
            OwnedString::new(ctx, bytes)
        };
        let payloads: Vec<_> = self.parts.iter().map(payload).collect();
        let pairs = self.parts.iter().zip(&payloads).flat_map(|(&(key, _), payload)| [key, payload.arg()]);
        vector(ctx, EFFECT, c"v", pairs);
    }
}

/// Propagates `command argument …`, whose arguments are plain bytes.
pub fn command(ctx: &Context<'_>, command: &CStr, arguments: &[&[u8]]) {
    plain(ctx, command, c"v", arguments);
}

/// Writes `command argument …` to this server's AOF, and not to its replicas.
pub fn to_aof_only(ctx: &Context<'_>, command: &CStr, arguments: &[&[u8]]) {
    plain(ctx, command, c"vR", arguments);
}

/// Propagates to where `format` says: a vector, perhaps with modifiers.
fn plain(ctx: &Context<'_>, command: &CStr, format: &CStr, arguments: &[&[u8]]) {
    let strings: Vec<_> = arguments.iter().map(|bytes| OwnedString::new(ctx, bytes)).collect();
    vector(ctx, command, format, strings.iter().map(OwnedString::arg));
}

/// The same as [`plain`], for arguments that are strings of the server.
fn vector<'s>(ctx: &Context<'_>, command: &CStr, format: &CStr, arguments: impl Iterator<Item = Arg<'s>>) {
    let mut vector: Vec<_> = arguments.map(Arg::raw).collect();
    // SAFETY: the format matches: a vector of live strings and its length.
    unsafe {
        call!(RedisModule_Replicate(
            ctx.raw(),
            command.as_ptr(),
            format.as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
    }
}

/// Propagates the running command as the client sent it.
pub fn verbatim(ctx: &Context<'_>) {
    // SAFETY: the context is live.
    unsafe {
        call!(RedisModule_ReplicateVerbatim(ctx.raw()));
    }
}
