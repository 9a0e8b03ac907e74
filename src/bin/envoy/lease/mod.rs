//! The rate limit quota service. It lends each Envoy a part of a limit for some seconds, and the
//! Envoy decides by itself within that part.
//!
//! | file | idea |
//! |---|---|
//! | [`terms`] | the tokens of a part, and the units to reserve for it |
//! | [`account`] | the assignments of one Envoy, and how much of them still counts |
//! | [`leased_bucket`] | the reservations in Redis for one bucket of an Envoy |
//! | `tests/leases` | a model with Envoys that use all they can at the worst moments: they never use more than is reserved |
//!
//! A stream is one Envoy. It reports each bucket when it first meets it, and then all buckets every
//! 5 s. The answer to a report assigns what the bucket may do from then on. When the stream ends,
//! nothing is taken back. The Envoy continues until its assignments end, and the reservations last
//! as long.

pub mod account;
mod leased_bucket;
#[cfg(test)]
#[path = "../../../../tests/leases/mod.rs"]
mod model;
pub mod terms;

use crate::config::{Allowance, DenialEffect};
use crate::key::key;
use crate::matching::find;
use crate::service::Service;
use account::{Assignment, IDLE_REPORTS, Usage};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::rate_limit_quota::v3::rate_limit_quota_response::BucketAction;
use envoy_types::pb::envoy::service::rate_limit_quota::v3::rate_limit_quota_response::bucket_action::{
    AbandonAction, BucketAction as Action, QuotaAssignmentAction,
};
use envoy_types::pb::envoy::service::rate_limit_quota::v3::rate_limit_quota_service_server::RateLimitQuotaService;
use envoy_types::pb::envoy::service::rate_limit_quota::v3::rate_limit_quota_usage_reports::BucketQuotaUsage;
use envoy_types::pb::envoy::service::rate_limit_quota::v3::{
    BucketId, RateLimitQuotaResponse, RateLimitQuotaUsageReports,
};
use envoy_types::pb::envoy::r#type::v3::rate_limit_strategy::{BlanketRule, Strategy};
use envoy_types::pb::envoy::r#type::v3::{RateLimitStrategy, TokenBucket};
use envoy_types::pb::google::protobuf::{Duration as Length, UInt32Value};
use leased_bucket::LeasedBucket;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use terms::{LeaseTerms, TTL_SECONDS, Tokens};
use tokio::sync::{mpsc, watch};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The number of answers that may wait for a slow stream. The next answer is made only when there
/// is room for it, because an assignment starts when it is sent.
const ANSWERS: usize = 1;

/// The longest time for which the answer for one bucket waits for those of other buckets. An
/// assignment starts when it is decided, so it must not arrive late.
const LONGEST_GATHERING: Duration = Duration::from_secs(1);
/// The longest time that Redis may take for a bucket, even if other requests may take longer.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// The gRPC service.
pub struct Leases {
    pub service: Arc<Service>,
    pub stopping: watch::Receiver<bool>,
}

/// What a bucket meets in the configuration.
enum BucketRule {
    /// No limit that denies, or a limit that cannot be lent.
    Blanket(BlanketRule),
    Lent {
        key: String,
        terms: LeaseTerms,
    },
}

/// The stream of one Envoy.
struct Stream {
    service: Arc<Service>,
    /// The domain of the first report.
    domain: String,
    /// The buckets by the sorted pairs of their IDs.
    buckets: HashMap<Vec<(String, String)>, LeasedBucket>,
    /// The number of reports without a request, one after the other, of each bucket that is not lent.
    idle: HashMap<Vec<(String, String)>, u32>,
}

type QuotaAnswer = Result<RateLimitQuotaResponse, Status>;

/// The reasons why a stream ends.
enum StreamEnd {
    /// The Envoy has closed the stream.
    Gone,
    /// The Envoy has sent a malformed report.
    Malformed(Box<Status>),
}

impl StreamEnd {
    fn malformed(why: &str) -> Self {
        Self::Malformed(Box::new(Status::invalid_argument(why)))
    }
}

impl From<mpsc::error::SendError<()>> for StreamEnd {
    fn from(_: mpsc::error::SendError<()>) -> Self {
        Self::Gone
    }
}

#[tonic::async_trait]
impl RateLimitQuotaService for Leases {
    type StreamRateLimitQuotasStream = ReceiverStream<QuotaAnswer>;

    async fn stream_rate_limit_quotas(
        &self,
        request: Request<Streaming<RateLimitQuotaUsageReports>>,
    ) -> Result<Response<Self::StreamRateLimitQuotasStream>, Status> {
        let (answers, taken) = mpsc::channel(ANSWERS);
        let stream = Stream {
            service: Arc::clone(&self.service),
            domain: String::new(),
            buckets: HashMap::new(),
            idle: HashMap::new(),
        };
        let stopping = self.stopping.clone();
        tokio::spawn(stream.follow(request.into_inner(), answers, stopping));
        Ok(Response::new(ReceiverStream::new(taken)))
    }
}

impl Stream {
    /// Answers reports until the Envoy closes the stream or sends a malformed report, or the
    /// service stops.
    async fn follow(
        mut self,
        mut reports: Streaming<RateLimitQuotaUsageReports>,
        answers: mpsc::Sender<QuotaAnswer>,
        mut stopping: watch::Receiver<bool>,
    ) {
        self.service.metrics.stream(true);
        loop {
            let report = tokio::select! {
                report = reports.message() => report,
                _ = stopping.wait_for(|stop| *stop) => break,
                () = answers.closed() => break,
            };
            let Ok(Some(report)) = report else { break };
            if let Err(end) = self.answer(&report, &answers).await {
                if let StreamEnd::Malformed(why) = end {
                    // The Envoy may have closed the stream meanwhile. Then nobody gets the error.
                    let _ = answers.send(Err(*why)).await;
                }
                break;
            }
        }
        self.service.metrics.stream(false);
        let leaving = async {
            for bucket in self.buckets.values_mut() {
                // A reservation that Redis does not release expires by itself.
                let _ = bucket.leave(&self.service.link).await;
            }
        };
        let _ = tokio::time::timeout(self.service.style.deadline, leaving).await;
    }

    /// Answers a report: in one answer, or in several if Redis takes long.
    async fn answer(
        &mut self,
        report: &RateLimitQuotaUsageReports,
        answers: &mpsc::Sender<QuotaAnswer>,
    ) -> Result<(), StreamEnd> {
        if self.domain.is_empty() {
            self.domain.clone_from(&report.domain);
        }
        if self.domain.is_empty() {
            return Err(StreamEnd::malformed("the domain of the first report is empty"));
        }
        if !report.domain.is_empty() && report.domain != self.domain {
            return Err(StreamEnd::malformed("the domain of a stream cannot change"));
        }
        let mut place = answers.reserve().await?;
        let mut begun = Instant::now();
        let mut bucket_action = Vec::with_capacity(report.bucket_quota_usages.len());
        for usage in &report.bucket_quota_usages {
            if begun.elapsed() >= LONGEST_GATHERING && !bucket_action.is_empty() {
                place.send(Ok(RateLimitQuotaResponse { bucket_action: std::mem::take(&mut bucket_action) }));
                place = answers.reserve().await?;
                begun = Instant::now();
            }
            let id = usage.bucket_id.as_ref().filter(|id| !id.bucket.is_empty());
            let id = id.ok_or_else(|| StreamEnd::malformed("a bucket has no id"))?;
            if let Some(action) = self.action(id, usage).await {
                bucket_action.push(BucketAction { bucket_id: Some(id.clone()), bucket_action: Some(action) });
            }
        }
        if !bucket_action.is_empty() {
            place.send(Ok(RateLimitQuotaResponse { bucket_action }));
        }
        Ok(())
    }

    /// The assignment of a bucket from now on. `None` if Redis does not answer.
    async fn action(&mut self, id: &BucketId, usage: &BucketQuotaUsage) -> Option<Action> {
        let mut pairs: Vec<(String, String)> =
            id.bucket.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        pairs.sort_unstable();
        let (key, terms) = match self.bucket_rule(&pairs) {
            BucketRule::Blanket(rule) => {
                self.forget(&pairs).await;
                return Some(self.blanket(pairs, usage, rule));
            }
            BucketRule::Lent { key, terms } => (key, terms),
        };
        self.idle.remove(&pairs);
        if self.buckets.get(&pairs).is_some_and(|bucket| !bucket.is_of(&key, &terms)) {
            self.forget(&pairs).await;
        }
        let bucket = self.buckets.entry(pairs.clone()).or_insert_with(|| LeasedBucket::new(key, terms));
        let reported = Usage {
            allowed: usage.num_requests_allowed,
            denied: usage.num_requests_denied,
            elapsed: usage.time_elapsed.as_ref().map_or(Duration::ZERO, length),
        };
        bucket.add_report(reported);
        let deadline = self.service.style.deadline.min(REDIS_TIMEOUT);
        let assigned = self.service.within(deadline, bucket.answer(&self.service.link)).await;
        self.service.metrics.reported(reported.allowed, reported.denied);
        match assigned {
            Ok(Assignment::Tokens(tokens)) => Some(assignment(token_bucket(tokens, bucket.terms()))),
            Ok(Assignment::DenyAll) => Some(assignment(Strategy::BlanketRule(BlanketRule::DenyAll.into()))),
            Ok(Assignment::Abandon) => {
                self.buckets.remove(&pairs);
                Some(Action::AbandonAction(AbandonAction {}))
            }
            // The assignment that the bucket has expires by itself.
            Err(_) => None,
        }
    }

    /// The answer for a bucket that is not lent: the rule for all requests, or to abandon the bucket if
    /// nobody has asked for long.
    fn blanket(
        &mut self,
        pairs: Vec<(String, String)>,
        usage: &BucketQuotaUsage,
        rule: BlanketRule,
    ) -> Action {
        let asked = usage.num_requests_allowed.saturating_add(usage.num_requests_denied) > 0;
        let idle = self.idle.remove(&pairs).map_or(0, |idle| idle + 1);
        if !asked && idle >= IDLE_REPORTS {
            return Action::AbandonAction(AbandonAction {});
        }
        self.idle.insert(pairs, if asked { 0 } else { idle });
        assignment(Strategy::BlanketRule(rule.into()))
    }

    /// Leaves a bucket whose limit has changed or is gone.
    async fn forget(&mut self, pairs: &[(String, String)]) {
        if let Some(mut bucket) = self.buckets.remove(pairs) {
            let leave = bucket.leave(&self.service.link);
            let _ = tokio::time::timeout(self.service.style.deadline, leave).await;
        }
    }

    /// Looks up what a bucket meets, as a descriptor with the pairs of its ID.
    fn bucket_rule(&self, pairs: &[(String, String)]) -> BucketRule {
        let entries: Vec<Entry> =
            pairs.iter().map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect();
        let config = self.service.current.config();
        let Some(found) = find(&config, &self.domain, &entries) else {
            return BucketRule::Blanket(BlanketRule::AllowAll);
        };
        let rule = match &*found.allowance {
            Allowance::Unlimited { .. } => return BucketRule::Blanket(BlanketRule::AllowAll),
            Allowance::Limited(rule)
                if rule.mode == DenialEffect::Shadow || rule.denying().next().is_none() =>
            {
                return BucketRule::Blanket(BlanketRule::AllowAll);
            }
            Allowance::Limited(rule) => rule,
        };
        match LeaseTerms::of(rule) {
            Some(terms) => {
                let key = key(&self.service.style.prefix, &self.domain, &entries, &found.shared);
                BucketRule::Lent { key, terms }
            }
            None => BucketRule::Blanket(BlanketRule::DenyAll),
        }
    }
}

fn assignment(strategy: Strategy) -> Action {
    Action::QuotaAssignmentAction(QuotaAssignmentAction {
        assignment_time_to_live: Some(seconds(TTL_SECONDS)),
        rate_limit_strategy: Some(RateLimitStrategy { strategy: Some(strategy) }),
    })
}

fn token_bucket(tokens: Tokens, terms: &LeaseTerms) -> Strategy {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Strategy::TokenBucket(TokenBucket {
        max_tokens: count(tokens.burst),
        tokens_per_fill: Some(UInt32Value { value: count(tokens.fill) }),
        fill_interval: Some(interval(terms.fill_seconds())),
    })
}

fn seconds(seconds: u64) -> Length {
    Length { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

/// Envoy 1.40 uses only the whole seconds of an interval. To see whether an interval has changed,
/// it compares only the nanoseconds. So these differ, too, if the seconds do.
fn interval(whole: u64) -> Length {
    Length { nanos: i32::try_from(whole).unwrap_or(0), ..seconds(whole) }
}

fn length(length: &Length) -> Duration {
    let seconds = u64::try_from(length.seconds).unwrap_or(0);
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0);
    Duration::new(seconds, nanos)
}
