//! The rate limit quota service: Envoys that decide by themselves, each on a part
//! of the limit that is lent to it for some seconds.
//!
//! | file | idea |
//! |---|---|
//! | [`terms`] | what a part lets an Envoy do, and what is reserved for it |
//! | [`held`] | one bucket of one Envoy: its reservation, report by report |
//!
//! A stream is one Envoy. It reports each bucket when it first meets it, and then
//! all of them every 5 s; each report is answered with what the bucket may do from
//! now on. When the stream ends, nothing is taken back: the Envoy goes on until its
//! assignments end, and so do the reservations.

mod held;
pub mod terms;

use crate::config::{Allowance, Mode};
use crate::key::key;
use crate::matching::find;
use crate::service::Service;
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
use held::{Held, Told, Usage};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use terms::{TTL_SECONDS, Terms, Tokens};
use tokio::sync::{mpsc, watch};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How many answers wait for a stream that is slow to take them. The one after is
/// made when there is room, and not before: what it says begins when it is sent.
const ANSWERS: usize = 1;

/// The service.
pub struct Leases {
    pub service: Arc<Service>,
    pub stopping: watch::Receiver<bool>,
}

/// What is told of a bucket without asking Redis.
enum Terse {
    AllowAll,
    DenyAll,
}

/// What a bucket meets.
enum Lent {
    /// No limit that denies, or one that is not lent.
    Told(Terse),
    Of {
        key: String,
        terms: Terms,
    },
}

/// One Envoy.
struct Stream {
    service: Arc<Service>,
    /// Of its first report.
    domain: String,
    /// By the pairs of its id, sorted.
    buckets: HashMap<Vec<(String, String)>, Held>,
}

type Answer = Result<RateLimitQuotaResponse, Status>;

#[tonic::async_trait]
impl RateLimitQuotaService for Leases {
    type StreamRateLimitQuotasStream = ReceiverStream<Answer>;

    async fn stream_rate_limit_quotas(
        &self,
        request: Request<Streaming<RateLimitQuotaUsageReports>>,
    ) -> Result<Response<Self::StreamRateLimitQuotasStream>, Status> {
        let (answers, taken) = mpsc::channel(ANSWERS);
        let stream =
            Stream { service: Arc::clone(&self.service), domain: String::new(), buckets: HashMap::new() };
        let stopping = self.stopping.clone();
        tokio::spawn(stream.follow(request.into_inner(), answers, stopping));
        Ok(Response::new(ReceiverStream::new(taken)))
    }
}

impl Stream {
    /// Answers reports until the Envoy goes, says nonsense, or the service stops.
    async fn follow(
        mut self,
        mut reports: Streaming<RateLimitQuotaUsageReports>,
        answers: mpsc::Sender<Answer>,
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
            let Ok(place) = answers.reserve().await else { break };
            match self.answer(&report).await {
                Ok(answer) if answer.bucket_action.is_empty() => {}
                Ok(answer) => place.send(Ok(answer)),
                Err(why) => {
                    place.send(Err(why));
                    break;
                }
            }
        }
        self.service.metrics.stream(false);
        let leaving = async {
            for held in self.buckets.values_mut() {
                // What was not told to Redis runs out by itself.
                let _ = held.leave(&self.service.link).await;
            }
        };
        let _ = tokio::time::timeout(self.service.style.deadline, leaving).await;
    }

    async fn answer(&mut self, report: &RateLimitQuotaUsageReports) -> Answer {
        if self.domain.is_empty() {
            self.domain.clone_from(&report.domain);
        }
        if self.domain.is_empty() {
            return Err(Status::invalid_argument("the domain of the first report is empty"));
        }
        if !report.domain.is_empty() && report.domain != self.domain {
            return Err(Status::invalid_argument("the domain of a stream cannot change"));
        }
        let mut bucket_action = Vec::with_capacity(report.bucket_quota_usages.len());
        for usage in &report.bucket_quota_usages {
            let id = usage.bucket_id.as_ref().filter(|id| !id.bucket.is_empty());
            let id = id.ok_or_else(|| Status::invalid_argument("a bucket has no id"))?;
            if let Some(action) = self.action(id, usage).await {
                bucket_action.push(BucketAction { bucket_id: Some(id.clone()), bucket_action: Some(action) });
            }
        }
        Ok(RateLimitQuotaResponse { bucket_action })
    }

    /// What the bucket may do from now on; nothing when Redis does not say.
    async fn action(&mut self, id: &BucketId, usage: &BucketQuotaUsage) -> Option<Action> {
        let mut pairs: Vec<(String, String)> =
            id.bucket.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        pairs.sort_unstable();
        let (key, terms) = match self.lent(&pairs) {
            Lent::Told(terse) => {
                self.forget(&pairs).await;
                let rule = match terse {
                    Terse::AllowAll => BlanketRule::AllowAll,
                    Terse::DenyAll => BlanketRule::DenyAll,
                };
                return Some(assignment(Strategy::BlanketRule(rule.into())));
            }
            Lent::Of { key, terms } => (key, terms),
        };
        if self.buckets.get(&pairs).is_some_and(|held| !held.is_of(&key, &terms)) {
            self.forget(&pairs).await;
        }
        let held = self.buckets.entry(pairs.clone()).or_insert_with(|| Held::new(key, terms));
        let said = Usage {
            allowed: usage.num_requests_allowed,
            denied: usage.num_requests_denied,
            elapsed: usage.time_elapsed.as_ref().map_or(Duration::ZERO, length),
        };
        let told =
            self.service.within(self.service.style.deadline, held.report(&self.service.link, said)).await;
        self.service.metrics.reported(said.allowed, said.denied);
        match told {
            Ok(Told::Tokens(tokens)) => Some(assignment(bucket(tokens, held.terms()))),
            Ok(Told::DenyAll) => Some(assignment(Strategy::BlanketRule(BlanketRule::DenyAll.into()))),
            Ok(Told::Abandon) => {
                self.buckets.remove(&pairs);
                Some(Action::AbandonAction(AbandonAction {}))
            }
            // The assignment that it has ends by itself.
            Err(_) => None,
        }
    }

    /// Its limit is another one, or none, from now on.
    async fn forget(&mut self, pairs: &[(String, String)]) {
        if let Some(mut held) = self.buckets.remove(pairs) {
            let leave = held.leave(&self.service.link);
            let _ = tokio::time::timeout(self.service.style.deadline, leave).await;
        }
    }

    /// What a bucket meets, looked up as a descriptor of its pairs.
    fn lent(&self, pairs: &[(String, String)]) -> Lent {
        let entries: Vec<Entry> =
            pairs.iter().map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect();
        let config = self.service.current.config();
        let Some(found) = find(&config, &self.domain, &entries) else { return Lent::Told(Terse::AllowAll) };
        let rule = match &*found.allowance {
            Allowance::Unlimited { .. } => return Lent::Told(Terse::AllowAll),
            Allowance::Limited(rule) if rule.mode == Mode::Shadow => return Lent::Told(Terse::AllowAll),
            Allowance::Limited(rule) => rule,
        };
        match Terms::of(rule) {
            Some(terms) => {
                let key = key(&self.service.style.prefix, &self.domain, &entries, &found.shared);
                Lent::Of { key, terms }
            }
            None => Lent::Told(Terse::DenyAll),
        }
    }
}

fn assignment(strategy: Strategy) -> Action {
    Action::QuotaAssignmentAction(QuotaAssignmentAction {
        assignment_time_to_live: Some(seconds(TTL_SECONDS)),
        rate_limit_strategy: Some(RateLimitStrategy { strategy: Some(strategy) }),
    })
}

fn bucket(tokens: Tokens, terms: &Terms) -> Strategy {
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

/// Envoy 1.40 counts the whole seconds of an interval, and to see whether it has
/// changed compares the rest of it alone: so that is different, too.
fn interval(whole: u64) -> Length {
    Length { nanos: i32::try_from(whole).unwrap_or(0), ..seconds(whole) }
}

fn length(length: &Length) -> Duration {
    let seconds = u64::try_from(length.seconds).unwrap_or(0);
    let nanos = u32::try_from(length.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0);
    Duration::new(seconds, nanos)
}
