//! What a denial closes (`block=`), and how it is answered then.

use super::Error;
use super::ends::{self, Retry};
use super::reply::RateLimitReply;
use crate::core::limits::{Decision, Limit, Request, State, blocks, decide};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::observe::metrics;
use crate::server::main_thread::MainThread;
use crate::types::effect::limit_blocks::{LimitBlocks, put_block};
use crate::types::effect::ratelimit::{RateLimitChange, RateLimitEffect};
use crate::types::ratelimit::RateLimit;

/// The blocks that a denial begins, unless its request waits.
#[derive(Debug)]
pub struct BlocksBegun {
    /// The answer with the blocks in force.
    pub reply: RateLimitReply,
    /// The request does not wait: they begin.
    pub in_force: bool,
    encoded: Vec<u8>,
    count: u64,
}

impl BlocksBegun {
    /// Those of a decision on `limits`; `None` where nothing closes.
    #[inline]
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
        Some(Box::new(Self::begin(limits, states, now, request, decision)))
    }

    #[cold]
    fn begin(
        limits: &[Limit],
        states: &[State],
        now: Micros,
        request: &Request,
        decision: &Decision,
    ) -> Self {
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
        Self { reply, in_force: false, encoded, count }
    }

    /// Where the limits are a pin of the key that ends, others may grant before they do:
    /// `later` decides it then.
    #[cold]
    pub fn across_pin(
        &mut self,
        main: MainThread,
        value: &RateLimit,
        now: Micros,
        later: impl FnOnce(Option<&RateLimit>, Micros) -> Result<RetryAfter, Error>,
    ) {
        let mut closed = value.simulation();
        let begins = RateLimitEffect { now, expires: false, change: self.change() };
        if begins.apply(main, Some(&mut closed)).is_ok() {
            let retry = Retry { limits: self.reply.status.retry, pinned: true };
            self.reply.status.retry = ends::across(main, &closed, retry, now, later);
        }
    }

    /// The change that begins them.
    pub fn change(&self) -> RateLimitChange<'_> {
        RateLimitChange::Close { blocks: LimitBlocks::new(&self.encoded) }
    }

    /// Counts them.
    pub fn count(&self, main: MainThread) {
        metrics::add(main, |m| &mut m.limits_closed, self.count);
    }
}
