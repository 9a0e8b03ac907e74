//! An Envoy that decides by itself, played: it reports as it is told and shows what
//! it is lent.

use std::time::Duration;

use envoy_types::pb::{
    envoy::{
        service::rate_limit_quota::v3::{
            BucketId, RateLimitQuotaResponse, RateLimitQuotaUsageReports,
            rate_limit_quota_response::bucket_action::BucketAction,
            rate_limit_quota_service_client::RateLimitQuotaServiceClient,
            rate_limit_quota_usage_reports::BucketQuotaUsage,
        },
        r#type::v3::rate_limit_strategy::{BlanketRule, Strategy},
    },
    google::protobuf::Duration as Length,
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming, codegen::tokio_stream::wrappers::ReceiverStream, transport::Channel};

use super::{PATIENCE, RUNTIME};

/// What a bucket may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lent {
    /// So many at once, and so many more in each interval of so many seconds.
    Tokens {
        burst: u64,
        fill: u64,
        seconds: u64,
    },
    AllowAll,
    DenyAll,
    Abandon,
}

impl Lent {
    /// The most that it allows in its interval.
    pub fn most(self) -> u64 {
        match self {
            Self::Tokens { burst, fill, .. } => burst + fill,
            Self::AllowAll => u64::MAX,
            Self::DenyAll | Self::Abandon => 0,
        }
    }
}

/// A stream of reports.
pub struct Borrower {
    reports: mpsc::Sender<RateLimitQuotaUsageReports>,
    answers: Streaming<RateLimitQuotaResponse>,
    domain: String,
}

fn bucket_id(text: &str) -> BucketId {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    BucketId { bucket: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect() }
}

impl Borrower {
    #[track_caller]
    pub fn connect(port: u16, domain: &str) -> Self {
        let (reports, sent) = mpsc::channel(10);
        let answers = RUNTIME.block_on(async {
            let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let mut client = RateLimitQuotaServiceClient::new(channel.connect().await.unwrap());
            client.stream_rate_limit_quotas(ReceiverStream::new(sent)).await.unwrap().into_inner()
        });
        Self { reports, answers, domain: domain.to_owned() }
    }

    /// Says what it did with a bucket in 5 s, and hears what that may do from now on.
    pub fn says(&mut self, bucket: &str, allowed: u64, denied: u64) -> Result<Lent, Status> {
        let answer = self.hears(bucket, allowed, denied, PATIENCE)?;
        Ok(answer.expect("an answer"))
    }

    /// Says it, and hears nothing for a second.
    #[track_caller]
    pub fn hears_nothing(&mut self, bucket: &str, allowed: u64, denied: u64) {
        assert_eq!(self.hears(bucket, allowed, denied, Duration::from_secs(1)).unwrap(), None);
    }

    fn hears(
        &mut self,
        bucket: &str,
        allowed: u64,
        denied: u64,
        patience: Duration,
    ) -> Result<Option<Lent>, Status> {
        let usage = BucketQuotaUsage {
            bucket_id: Some(bucket_id(bucket)),
            time_elapsed: Some(Length { seconds: 5, nanos: 0 }),
            num_requests_allowed: allowed,
            num_requests_denied: denied,
        };
        let report =
            RateLimitQuotaUsageReports { domain: self.domain.clone(), bucket_quota_usages: vec![usage] };
        RUNTIME.block_on(async {
            self.reports.send(report).await.map_err(|_| Status::cancelled("the stream has ended"))?;
            let answer = tokio::time::timeout(patience, self.answers.message()).await;
            let Ok(answer) = answer else { return Ok(None) };
            let answer = answer?.ok_or_else(|| Status::cancelled("the stream has ended"))?;
            let [action] = answer.bucket_action.as_slice() else { panic!("one action: {answer:?}") };
            assert_eq!(action.bucket_id, Some(bucket_id(bucket)));
            Ok(Some(lent(action.bucket_action.as_ref().unwrap())))
        })
    }

    /// The same, and it is not refused.
    #[track_caller]
    pub fn report(&mut self, bucket: &str, allowed: u64, denied: u64) -> Lent {
        self.says(bucket, allowed, denied).unwrap()
    }

    /// From the next report on it names another domain.
    pub fn rename(&mut self, domain: &str) {
        self.domain = domain.to_owned();
    }

    /// Whether the other side has ended the stream.
    pub fn has_ended(&mut self) -> bool {
        RUNTIME.block_on(async {
            let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
            matches!(next, Ok(Ok(None) | Err(_)))
        })
    }
}

fn lent(action: &BucketAction) -> Lent {
    let assignment = match action {
        BucketAction::AbandonAction(_) => return Lent::Abandon,
        BucketAction::QuotaAssignmentAction(assignment) => assignment,
    };
    assert_eq!(assignment.assignment_time_to_live, Some(Length { seconds: 15, nanos: 0 }));
    match assignment.rate_limit_strategy.unwrap().strategy.unwrap() {
        Strategy::BlanketRule(rule) if rule == BlanketRule::AllowAll as i32 => Lent::AllowAll,
        Strategy::BlanketRule(_) => Lent::DenyAll,
        Strategy::TokenBucket(bucket) => {
            let interval = bucket.fill_interval.unwrap();
            // Envoy compares the fraction alone, and counts whole seconds.
            assert_eq!(i64::from(interval.nanos), interval.seconds);
            Lent::Tokens {
                burst: bucket.max_tokens.into(),
                fill: bucket.tokens_per_fill.unwrap().value.into(),
                seconds: interval.seconds as u64,
            }
        }
        Strategy::RequestsPerTimeUnit(_) => panic!("Envoy does not know it"),
    }
}
