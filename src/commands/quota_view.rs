//! The limits of a key as RL.QUOTA shows them: a map for each limit.

use crate::core::limits::{Limit, LimitQuota, LimitStatus, Request, Rule, State, decide, limit_quota};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::limiter::ends::PinEnd;
use crate::limiter::resolve::Source;
use crate::limiter::words::Word;
use crate::server::context::Context;
use crate::server::ffi::reply::{self, Each, Fields, Reply, signed};
use crate::types::operator::Block;

/// One limit and its status.
#[derive(Debug)]
pub(super) struct QuotaRow<'v> {
    pub(super) limit: &'v Limit,
    pub(super) label: &'v str,
    pub(super) quota: LimitQuota,
}

/// Everything that RL.QUOTA shows.
#[derive(Debug)]
pub(super) struct QuotaView<'v> {
    pub(super) now: Micros,
    pub(super) request: Request,
    pub(super) limits: &'v [Limit],
    pub(super) labels: &'v [Box<str>],
    pub(super) states: &'v [State],
    pub(super) source: Source,
    pub(super) block: Option<&'v Block>,
    /// The end of the pin, if the limits are a pin that ends.
    pub(super) pin_end: Option<PinEnd>,
    /// The time until the request would be granted if there were no queue. Only the headers tell it.
    pub(super) retry: RetryAfter,
}

impl<'v> QuotaView<'v> {
    /// The view of a blocked key without limits.
    pub(super) fn of_block(now: Micros, request: Request, block: &'v Block) -> Self {
        Self {
            now,
            request,
            limits: &[],
            labels: &[],
            states: &[],
            source: Source::Last,
            block: Some(block),
            pin_end: None,
            retry: block.validity.until(now).wait(now),
        }
    }

    fn row(&self, at: usize) -> Option<QuotaRow<'v>> {
        let (limit, label, state) = (self.limits.get(at)?, self.labels.get(at)?, self.states.get(at)?);
        let mut quota = limit_quota(limit, state, self.now, self.request.cost);
        if let Some(pin_end) = self.pin_end {
            quota.retry = pin_end.wait(quota.retry, self.now);
        }
        Some(QuotaRow { limit, label, quota })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = QuotaRow<'v>> {
        (0..self.limits.len()).filter_map(|at| self.row(at))
    }

    /// Writes a map for each limit, then one for the key's block if it has one.
    pub(super) fn send(&self, ctx: &Context<'_>) {
        let count = self.limits.len() + usize::from(self.block.is_some());
        let item = |ctx: &Context<'_>, at| match (self.row(at), self.block) {
            (Some(row), _) => self.send_row(ctx, &row),
            (None, Some(block)) => self.send_block(ctx, block),
            (None, None) => {}
        };
        Each(0..count, item).send(ctx);
    }

    fn send_row(&self, ctx: &Context<'_>, QuotaRow { limit, label, quota }: &QuotaRow<'_>) {
        let or_never = |n: Option<u64>| n.map_or(-1, signed);
        let name = limit.algorithm_name();
        let algorithm: &dyn Reply = match limit.rule() {
            Rule::Sliding(_) => &Word::Sliding,
            // A limit of CL.THROTTLE is shown as a bucket, the name that users know.
            Rule::Bucket(_) | Rule::Throttle(_) => &Word::Bucket,
            Rule::Fixed(_) => &Word::Fixed,
            Rule::Concurrent(_) | Rule::Unlimited => &name,
        };
        reply::map(
            ctx,
            &[
                (Word::Name, label),
                (Word::Algorithm, algorithm),
                (Word::Limit, &or_never(limit.capacity())),
                (Word::Used, &quota.used),
                (Word::Remaining, &or_never(quota.remaining)),
                (Word::PeriodMs, &or_never(limit.period_us().map(|us| us.div_ceil(1000)))),
                (Word::RetryAfterMs, &quota.retry),
                (Word::ResetAfterMs, &quota.reset.millis()),
                (Word::ResetAtMs, &or_never(quota.reset.moment(self.now).map(Micros::ceil_millis))),
                (Word::Shadow, &limit.shadow()),
                (Word::Source, &self.source),
            ],
        );
    }

    fn send_block(&self, ctx: &Context<'_>, block: &Block) {
        let (until, reason) = (block.validity.until(self.now), &*block.reason);
        reply::map(ctx, &[("blocked", &Fields(&[("until", &until), ("reason", &reason)]))]);
    }

    /// The status of all limits together, as that of the binding one; `None` without limits.
    pub(super) fn status(&self) -> Option<LimitStatus> {
        let (limits, states, now) = (self.limits, self.states, self.now);
        let status = || decide(limits, states, now, &self.request).before(limits, states, now);
        (!limits.is_empty()).then(|| LimitStatus { retry: self.retry, ..status() })
    }
}
