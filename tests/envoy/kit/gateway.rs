//! A gateway of Kuadrant's: looks, reports, reserves and commits.

#[path = "../../../src/bin/envoy/kuadrant/message.rs"]
pub mod message;

use envoy_types::pb::{
    envoy::extensions::common::ratelimit::v3::RateLimitDescriptor,
    envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse, rate_limit_response::Code},
    google::protobuf::Duration,
};
use message::{CommitRequest, CommitResponse, ReserveRequest, ReserveResponse};
use tonic::{Request, Status, codegen::http, transport::Channel};
use tonic_prost::ProstCodec;

use super::{Answer, RUNTIME, descriptor};

/// Asks about one domain.
#[derive(Clone)]
pub struct Gateway {
    channel: Channel,
    domain: String,
}

impl Gateway {
    #[track_caller]
    pub fn connect(port: u16, domain: &str) -> Self {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Self { channel: RUNTIME.block_on(channel.connect()).unwrap(), domain: domain.to_owned() }
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|why| Status::unavailable(why.to_string()))?;
        let path = format!("/kuadrant.service.ratelimit.v1.RateLimitService/{method}");
        let path = http::uri::PathAndQuery::try_from(path).unwrap();
        Ok(grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }

    /// The id when it is held; `None` when it is over a limit.
    pub async fn reserving(
        &self,
        descriptors: &[&str],
        amount: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<String>, Status> {
        let descriptors = descriptors.iter().map(|text| descriptor(text)).collect();
        self.reserving_on(descriptors, amount, ttl).await
    }

    /// The same, whatever the descriptors hold.
    pub async fn reserving_on(
        &self,
        descriptors: Vec<RateLimitDescriptor>,
        amount: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<String>, Status> {
        let request = ReserveRequest { domain: self.domain.clone(), descriptors, amount, ttl };
        let answer: ReserveResponse = self.call("Reserve", request).await?;
        let over = answer.code() == Code::OverLimit;
        assert!(over || answer.code() == Code::Ok, "{answer:?}");
        assert!(!over || answer.reservation_id.is_empty(), "{answer:?}");
        Ok((!over).then_some(answer.reservation_id))
    }

    #[track_caller]
    pub fn reserve(&self, descriptors: &[&str], amount: u64, seconds: i64) -> Option<String> {
        let ttl = Some(Duration { seconds, nanos: 0 });
        RUNTIME.block_on(self.reserving(descriptors, amount, ttl)).unwrap()
    }

    /// Whether the reservation was still held.
    pub async fn committing(&self, descriptors: &[&str], id: &str, actual: u64) -> Result<bool, Status> {
        let request = CommitRequest {
            domain: self.domain.clone(),
            descriptors: descriptors.iter().map(|text| descriptor(text)).collect(),
            reservation_id: id.to_owned(),
            actual_amount: actual,
        };
        let answer: CommitResponse = self.call("Commit", request).await?;
        Ok(answer.reservation_released)
    }

    #[track_caller]
    pub fn commit(&self, descriptors: &[&str], id: &str, actual: u64) -> bool {
        RUNTIME.block_on(self.committing(descriptors, id, actual)).unwrap()
    }

    fn plain(&self, method: &str, hits_addend: u32, descriptors: &[&str]) -> Result<Answer, Status> {
        let request = RateLimitRequest {
            domain: self.domain.clone(),
            descriptors: descriptors.iter().map(|text| descriptor(text)).collect(),
            hits_addend,
        };
        RUNTIME.block_on(self.call::<_, RateLimitResponse>(method, request)).map(Answer)
    }

    #[track_caller]
    pub fn check(&self, descriptors: &[&str]) -> Answer {
        self.plain("CheckRateLimit", 0, descriptors).unwrap()
    }

    pub fn report(&self, hits: u32, descriptors: &[&str]) -> Result<Answer, Status> {
        self.plain("Report", hits, descriptors)
    }

    /// A method that is not there.
    pub fn nonsense(&self) -> Status {
        self.plain("Nonsense", 0, &["a=1"]).unwrap_err()
    }
}
