//! Words that replies repeat, kept in the form in which the protocol sends them: the names of
//! RL.QUOTA, the sources of limits, the states of breakers.
//!
//! **Optimisation.** Forwarding a stored reply costs 130 instructions; building the string costs
//! 380. RL.QUOTA sends thirteen known words for each limit, and takes 22 % fewer instructions with
//! stored ones. CB.ACQUIRE + CB.REPORT OK, which send a state each, take 3 % fewer (commit 37560be).
//! The module fetches all words at once, by a command that answers with some of its own arguments,
//! and forwards the parts of that answer. The plain version sends the text as a [`Reply`]; Redis 6.2
//! gets that. `tests/server/limits/quota.rs` compares both on one server.

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply::Reply;
use crate::server::main_thread::MainThreadCell;
use redis_module::raw;

enum Stored {
    NotYet,
    /// The server does not answer, because it is too old or the command is renamed.
    Never,
    /// The server's replies in the order of the texts. They are never freed.
    Replies(Vec<*mut raw::RedisModuleCallReply>),
}

/// A list of words that replies repeat.
pub struct SharedReplies {
    texts: &'static [&'static str],
    stored: MainThreadCell<Stored>,
}

impl std::fmt::Debug for SharedReplies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedReplies").field("texts", &self.texts).finish_non_exhaustive()
    }
}

impl SharedReplies {
    /// Makes a list of these words. They are fetched from the server when the first is sent.
    pub const fn new(texts: &'static [&'static str]) -> Self {
        Self { texts, stored: MainThreadCell::new(Stored::NotYet) }
    }

    /// Sends the word at `index` as a bulk string; beyond the list, an empty one.
    pub fn send(&'static self, ctx: &Context<'_>, index: usize) {
        let stored = {
            let mut stored = self.stored.of(ctx.main()).borrow_mut();
            if let Stored::NotYet = *stored {
                *stored = ask(ctx, self.texts).map_or(Stored::Never, Stored::Replies);
            }
            match &*stored {
                Stored::Replies(replies) => replies.get(index).copied(),
                Stored::NotYet | Stored::Never => None,
            }
        };
        match stored {
            // SAFETY: the context is live, and so is the reply: it is never freed.
            Some(stored) => unsafe {
                call!(RedisModule_ReplyWithCallReply(ctx.raw(), stored));
            },
            None => self.texts.get(index).copied().unwrap_or_default().send(ctx),
        }
    }
}

/// Fetches the words as the answer of `COMMAND GETKEYS DEL word …`.
///
/// Redis 6.2 is not asked. When it forwards a part of an answer, it reads a field of that part that
/// it never wrote, and crashes.
#[cold]
fn ask(ctx: &Context<'_>, texts: &[&str]) -> Option<Vec<*mut raw::RedisModuleCallReply>> {
    // SAFETY: only reads a static of the API, which is set before any command runs.
    let since_7_0 = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
    if !since_7_0 {
        return None;
    }
    let strings: Vec<_> =
        ["GETKEYS", "DEL"].iter().chain(texts).map(|text| OwnedString::new(ctx, text.as_bytes())).collect();
    let mut vector: Vec<_> = strings.iter().map(|string| string.arg().raw()).collect();
    let mut answers = vec![std::ptr::null_mut(); texts.len()];
    // SAFETY: the context is live; the format matches a vector and its length;
    // the answer is freed where it is not kept, and indices are checked by the API.
    unsafe {
        let whole = call!(RedisModule_Call(
            ctx.raw(),
            c"COMMAND".as_ptr(),
            c"v".as_ptr(),
            vector.as_mut_ptr(),
            vector.len()
        ));
        if whole.is_null() {
            return None;
        }
        for (index, answer) in answers.iter_mut().enumerate() {
            *answer = call!(RedisModule_CallReplyArrayElement(whole, index));
        }
        let strings = answers.iter().all(|answer| {
            !answer.is_null()
                && call!(RedisModule_CallReplyType(*answer)) == constant(raw::REDISMODULE_REPLY_STRING)
        });
        if !strings {
            call!(RedisModule_FreeCallReply(whole));
            return None;
        }
    }
    Some(answers)
}
