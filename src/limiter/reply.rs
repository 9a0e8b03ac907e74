//! The reply of every command that takes: reply integers.

use crate::core::limits::{Decision, LimitStatus};
use crate::observe::labels::DecisionLabels;
use crate::observe::metrics;
use crate::observe::top::RequestOutcome;
use crate::server::context::Context;
use crate::server::ffi::reply;
use crate::server::main_thread::MainThread;

/// What the sixth integer says when it is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The binding limit.
    Limit(usize),
    /// The key is blocked.
    Blocked,
    /// A waiting line stands.
    Line,
    /// Denied only because of other items of a batch.
    Batch,
}

impl Index {
    fn number(self) -> i64 {
        match self {
            Self::Limit(position) => i64::try_from(position).unwrap_or(0),
            Self::Blocked => -1,
            Self::Line => -2,
            Self::Batch => -3,
        }
    }
}

/// granted, limit, remaining, `retry_after_ms`, `reset_after_ms`, index.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitReply {
    /// Units granted.
    pub granted: u64,
    /// Where the binding limit stands after the call.
    pub status: LimitStatus,
    /// Which limit binds, or why none does.
    pub index: Index,
}

impl RateLimitReply {
    /// The reply of a decision.
    pub fn of(decision: &Decision) -> Self {
        Self {
            granted: decision.granted,
            status: decision.status,
            index: Index::Limit(decision.binding.unwrap_or(0)),
        }
    }

    /// Counts what every command that takes counts alike: blocks, and under
    /// labels the policy and the denials that shadow limits would have made.
    pub fn count(&self, main: MainThread, labelled: Option<&DecisionLabels>) {
        if self.index == Index::Blocked {
            metrics::count(main, |m| &mut m.blocked_denied);
        }
        if let Some(labelled) = labelled {
            if labelled.shadows() > 0 {
                metrics::add(main, |m| &mut m.shadow_denied, labelled.shadows().into());
            }
            labelled.count(main, self.outcome());
        }
    }

    /// What its own limits said; `None` where it only shares the fate of others.
    fn outcome(&self) -> Option<RequestOutcome> {
        match self.index {
            Index::Batch => None,
            _ if self.granted > 0 => Some(RequestOutcome::Granted),
            _ => Some(RequestOutcome::Denied),
        }
    }

    /// Writes it.
    pub fn send(&self, ctx: &Context<'_>) {
        reply::array(ctx, 6);
        reply::integer(ctx, signed(self.granted));
        reply::integer(ctx, self.status.limit.map_or(-1, signed));
        reply::integer(ctx, self.status.remaining.map_or(-1, signed));
        reply::integer(ctx, self.status.retry.millis());
        reply::integer(ctx, self.status.reset.millis());
        reply::integer(ctx, self.index.number());
    }
}

/// As a reply's integer.
pub fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
