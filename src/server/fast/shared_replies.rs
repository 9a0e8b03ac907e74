//! Words that replies repeat, ready as the protocol has them.
//!
//! The server puts a string together from four parts, each with the checks of a
//! reply of its own: 380 instructions. What a command of the server answered it
//! passes on in one part: 130. So all words are asked for once, by a command that
//! answers with some of its arguments, and these answers are passed on.

use crate::server::context::Context;
use crate::server::ffi::api::{call, constant};
use crate::server::ffi::call::OwnedString;
use crate::server::ffi::reply;
use crate::server::main_thread::MainThreadCell;
use redis_module::raw;

macro_rules! words {
    ($($name:ident = $text:literal,)+) => {
        /// A word of a reply.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Word {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl Word {
            const TEXTS: &[&'static str] = &[$($text,)+];

            /// As text.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

words! {
    // RL.QUOTA
    Name = "name",
    Algorithm = "algorithm",
    Limit = "limit",
    Used = "used",
    Remaining = "remaining",
    PeriodMs = "period_ms",
    RetryAfterMs = "retry_after_ms",
    ResetAfterMs = "reset_after_ms",
    ResetAtMs = "reset_at_ms",
    Shadow = "shadow",
    Source = "source",
    Sliding = "sliding",
    Bucket = "bucket",
    Fixed = "fixed",
    Pin = "pin",
    Call = "call",
    Policy = "policy",
    Default = "default",
    Last = "last",
    // The states of a breaker.
    Closed = "closed",
    Open = "open",
    HalfOpen = "half-open",
    ForcedOpen = "forced-open",
    ForcedClosed = "forced-closed",
}

const COUNT: usize = Word::TEXTS.len();

/// An answer of the server's, in the order of [`Word`]. Kept for good.
type Answers = [*mut raw::RedisModuleCallReply; COUNT];

enum ReplyKind {
    NotYet,
    /// The server does not answer: it is too old, or the command is renamed.
    Never,
    Words(Answers),
}

static KNOWN: MainThreadCell<ReplyKind> = MainThreadCell::new(ReplyKind::NotYet);

/// A bulk string, one of the [`Word`]s.
pub fn word(ctx: &Context<'_>, word: Word) {
    let mut known = KNOWN.of(ctx.main()).borrow_mut();
    if let ReplyKind::NotYet = *known {
        *known = ask(ctx).map_or(ReplyKind::Never, ReplyKind::Words);
    }
    let answer = match &*known {
        ReplyKind::Words(answers) => answers.get(word as usize),
        ReplyKind::NotYet | ReplyKind::Never => None,
    };
    match answer {
        // SAFETY: the context is live, and so is the answer: it is never freed.
        Some(answer) => unsafe {
            call!(RedisModule_ReplyWithCallReply(ctx.raw(), *answer));
        },
        None => reply::text(ctx, word.text()),
    }
}

/// `COMMAND GETKEYS DEL word …` answers with the words.
///
/// Not on Redis 6.2: to pass on a part of an answer it reads a field of the part
/// that it never wrote, and crashes.
#[cold]
fn ask(ctx: &Context<'_>) -> Option<Answers> {
    // SAFETY: a static of the API, set before any command runs.
    let since_7_0 = unsafe { raw::RedisModule_SetCommandInfo }.is_some();
    if !since_7_0 {
        return None;
    }
    let strings: Vec<_> = ["GETKEYS", "DEL"]
        .iter()
        .chain(Word::TEXTS)
        .map(|text| OwnedString::new(ctx, text.as_bytes()))
        .collect();
    let mut vector: Vec<_> = strings.iter().map(|string| string.arg().raw()).collect();
    let mut answers = [std::ptr::null_mut(); COUNT];
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
