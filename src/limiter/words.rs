//! Words that the replies about limits repeat, as stored replies.

use crate::server::context::Context;
use crate::server::fast::shared_replies::SharedReplies;
use crate::server::ffi::reply::Reply;

macro_rules! words {
    ($($name:ident = $text:literal,)+) => {
        /// A word of a reply.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Word {
            $(#[doc = concat!("`", $text, "`")] $name,)+
        }

        impl Word {
            const TEXTS: &[&'static str] = &[$($text,)+];
        }
    };
}

words! {
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
}

static WORDS: SharedReplies = SharedReplies::new(Word::TEXTS);

impl Reply for Word {
    fn send(&self, ctx: &Context<'_>) {
        WORDS.send(ctx, *self as usize);
    }
}
