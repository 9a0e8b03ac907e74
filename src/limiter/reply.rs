//! The reply of every command that takes units: six integers.

use crate::core::limits::{Decision, LimitStatus};
use crate::observe::labels::DecisionLabels;
use crate::observe::metrics;
use crate::observe::top::RequestOutcome;
use crate::server::context::Context;
use crate::server::ffi::reply::{self, Reply, signed};
use crate::server::main_thread::MainThread;

/// The sixth integer: the position of a limit, or the reason for which none binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The position of the binding limit, from 0.
    Limit(usize),
    /// The key is blocked.
    Blocked,
    /// Others wait for the key.
    Queue,
    /// Only other items of the batch deny the request.
    Batch,
}

impl Index {
    fn number(self) -> i64 {
        match self {
            Self::Limit(position) => i64::try_from(position).unwrap_or(0),
            Self::Blocked => -1,
            Self::Queue => -2,
            Self::Batch => -3,
        }
    }
}

/// The reply `granted`, `limit`, `remaining`, `retry_after_ms`, `reset_after_ms`, `index`.
#[derive(Clone, Copy, Debug)]
pub struct RateLimitReply {
    /// The units granted.
    pub granted: u64,
    /// The status of the binding limit after the call.
    pub status: LimitStatus,
    /// The limit that binds, or the reason for which none does.
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

    /// Counts what every command that takes units counts: denials on blocked keys, and, by label,
    /// the decisions under policies and the denials that shadow limits would have made.
    pub fn count(&self, main: MainThread, labelled: Option<&DecisionLabels>) {
        if self.index == Index::Blocked {
            metrics::count(main, |m| &mut m.blocked_denied);
        }
        if let Some(labelled) = labelled {
            metrics::add(main, |m| &mut m.shadow_denied, labelled.shadow_denied.len().into());
            labelled.count(main, self.outcome());
        }
    }

    /// The outcome by the request's own limits; `None` if only other items of its batch denied it.
    fn outcome(&self) -> Option<RequestOutcome> {
        match self.index {
            Index::Batch => None,
            _ if self.granted > 0 => Some(RequestOutcome::Granted),
            _ => Some(RequestOutcome::Denied),
        }
    }
}

impl Reply for RateLimitReply {
    fn send(&self, ctx: &Context<'_>) {
        let LimitStatus { limit, remaining, retry, reset } = self.status;
        let numbers = [
            signed(self.granted),
            limit.map_or(-1, signed),
            remaining.map_or(-1, signed),
            retry.millis(),
            reset.millis(),
            self.index.number(),
        ];
        reply::integers(ctx, &numbers);
    }
}
