//! Words that replies repeat, as stored replies, and how replies show permits.

use super::resolve::Source;
use crate::core::breaker::{CircuitState, Permit};
use crate::server::context::Context;
use crate::server::fast::shared_replies::SharedReplies;
use crate::server::ffi::reply::{self, Reply};

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
static SOURCES: SharedReplies = SharedReplies::new(&Source::NAMES);
static STATES: SharedReplies = SharedReplies::new(&CircuitState::NAMES);

impl Reply for Word {
    fn send(&self, ctx: &Context<'_>) {
        WORDS.send(ctx, *self as usize);
    }
}

impl Reply for Source {
    fn send(&self, ctx: &Context<'_>) {
        SOURCES.send(ctx, *self as usize);
    }
}

impl Reply for CircuitState {
    fn send(&self, ctx: &Context<'_>) {
        STATES.send(ctx, *self as usize);
    }
}

/// Writes the token of an admitted call.
impl Reply for Permit {
    fn send(&self, ctx: &Context<'_>) {
        reply::bytes(ctx, self.text().as_bytes());
    }
}
