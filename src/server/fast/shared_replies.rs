//! Words that the replies of RL.QUOTA repeat, ready as the protocol has them.
//!
//! **Optimisation.** Forwarding a stored reply costs 130 instructions; building the
//! string costs 380. RL.QUOTA says thirteen known words a limit: 16 503 instructions
//! before, 10 127 after (commit 30c5ed0). All words are asked for once, by a command
//! that answers with some of its arguments, and these replies are forwarded. The plain
//! version is [`reply::text`], which Redis 6.2 uses.

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply;
use crate::server::main_thread::MainThreadCell;
use redis_module::raw;

enum Stored {
    NotYet,
    /// The server does not answer: it is too old, or the command is renamed.
    Never,
    /// Replies of the server in the order of the texts. Kept for good.
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
    /// These words; the server is asked for them when the first is sent.
    pub const fn new(texts: &'static [&'static str]) -> Self {
        Self { texts, stored: MainThreadCell::new(Stored::NotYet) }
    }

    /// Sends the word at `index` as a bulk string; an empty one beyond the list.
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
            None => reply::text(ctx, self.texts.get(index).copied().unwrap_or_default()),
        }
    }
}

/// `COMMAND GETKEYS DEL word …` answers with the words.
///
/// Not on Redis 6.2: to pass on a part of an answer it reads a field of the part
/// that it never wrote, and crashes.
#[cold]
fn ask(ctx: &Context<'_>, texts: &[&str]) -> Option<Vec<*mut raw::RedisModuleCallReply>> {
    // SAFETY: a static of the API, set before any command runs.
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
