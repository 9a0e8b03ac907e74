//! The blocks that a denial begins (`block=`), and its reply then.

use super::Error;
use super::ends::{self, Retry, try_out};
use super::reply::RateLimitReply;
use super::resolve::KeyView;
use crate::core::limits::{Decision, Limit, Request, State, blocks, decide};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::observe::metrics;
use crate::server::main_thread::MainThread;
use crate::types::effect::ratelimit::{LimitBlocks, RateLimitChange, put_block};
use crate::types::ratelimit::RateLimit;

/// The blocks that a denial begins, unless its request waits.
#[derive(Debug)]
pub struct BlocksBegun {
    /// The reply with the blocks in force.
    pub reply: RateLimitReply,
    /// True if the request does not wait, so that the blocks begin.
    pub in_force: bool,
    encoded: Vec<u8>,
    count: u64,
}

impl BlocksBegun {
    /// The blocks of a decision on `limits`; `None` if no limit closes.
    #[cold]
    pub fn of(
        limits: &[Limit],
        states: &[State],
        now: Micros,
        request: &Request,
        decision: &Decision,
    ) -> Option<Box<Self>> {
        if decision.closes.is_empty() {
            return None;
        }
        let mut closed = states.to_vec();
        let mut encoded = Vec::new();
        let mut count = 0;
        for (index, block) in blocks(limits, states, now, request, decision.closes) {
            if let Some((limit, state)) = limits.get(index).zip(closed.get_mut(index)) {
                put_block(&mut encoded, limit, &block);
                state.close(block);
                count += 1;
            }
        }
        let reply = RateLimitReply::of(&decide(limits, &closed, now, request));
        Some(Box::new(Self { reply, in_force: false, encoded, count }))
    }

    /// Corrects the reply if the limits are a pin that ends. Other limits may then grant earlier,
    /// and `later` decides that.
    #[cold]
    pub fn across_pin(
        &mut self,
        found: KeyView<'_>,
        later: impl FnOnce(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) {
        let retry = Retry { limits: self.reply.status.retry, pinned: true };
        self.correct_retry(found, |closed| ends::across(closed, retry, later));
    }

    /// Corrects the retry of the reply. `retry` finds it on the key with the blocks in force.
    #[cold]
    pub fn correct_retry(&mut self, found: KeyView<'_>, retry: impl FnOnce(KeyView<'_>) -> RetryAfter) {
        let mut closed = found.value.map(RateLimit::simulation);
        if closed.is_some() && try_out(found.main, &mut closed, found.now, self.change()).is_ok() {
            self.reply.status.retry = retry(found.at(closed.as_ref(), found.now));
        }
    }

    /// The change that begins the blocks.
    pub fn change(&self) -> RateLimitChange<'_> {
        RateLimitChange::Close(LimitBlocks(&self.encoded))
    }

    /// Counts the blocks.
    pub fn count(&self, main: MainThread) {
        metrics::add(main, |m| &mut m.limits_closed, self.count);
    }
}
