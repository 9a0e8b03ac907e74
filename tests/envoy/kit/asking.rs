//! A gRPC client of the service, with short words for requests and answers.

use std::sync::LazyLock;

use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{
        RateLimitRequest, RateLimitResponse, rate_limit_response::Code,
        rate_limit_service_client::RateLimitServiceClient,
    },
};
use tokio::runtime::Runtime;
use tonic::{Status, transport::Channel};

/// The clients' own threads.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// A descriptor from `key=value key=value`.
pub fn descriptor(text: &str) -> RateLimitDescriptor {
    let entries = text
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| Entry { key: key.into(), value: value.into() })
        .collect();
    RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }
}

/// Asks about one domain.
#[derive(Clone)]
pub struct Asking {
    client: RateLimitServiceClient<Channel>,
    domain: String,
}

/// What came back.
pub type Asked = Result<Answer, Status>;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer(pub RateLimitResponse);

impl Asking {
    #[track_caller]
    pub fn connect(port: u16, domain: &str) -> Self {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let channel = RUNTIME.block_on(channel.connect()).unwrap();
        Self { client: RateLimitServiceClient::new(channel), domain: domain.to_owned() }
    }

    /// One hit on these descriptors.
    #[track_caller]
    pub fn ask(&self, descriptors: &[&str]) -> Answer {
        self.hit(0, descriptors)
    }

    /// So many hits, 0 for what the field left out means.
    #[track_caller]
    pub fn hit(&self, hits_addend: u32, descriptors: &[&str]) -> Answer {
        self.send(hits_addend, descriptors.iter().map(|text| descriptor(text)).collect()).unwrap()
    }

    /// Whatever the descriptors hold.
    pub fn send(&self, hits_addend: u32, descriptors: Vec<RateLimitDescriptor>) -> Asked {
        RUNTIME.block_on(self.sending(hits_addend, descriptors))
    }

    /// The same, to be waited for.
    pub async fn sending(&self, hits_addend: u32, descriptors: Vec<RateLimitDescriptor>) -> Asked {
        let request = RateLimitRequest { domain: self.domain.clone(), descriptors, hits_addend };
        let mut client = self.client.clone();
        client.should_rate_limit(request).await.map(|response| Answer(response.into_inner()))
    }
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.0.overall_code() == Code::Ok
    }

    /// For each descriptor whether it is within its limit, and what is left.
    pub fn left(&self) -> Vec<(bool, u32)> {
        self.0.statuses.iter().map(|status| (status.code() == Code::Ok, status.limit_remaining)).collect()
    }

    /// The limit of a descriptor: `5/SECOND`, with its name behind, or `-`.
    pub fn limit(&self, at: usize) -> String {
        self.0.statuses[at].current_limit.as_ref().map_or("-".into(), |limit| {
            format!("{}/{} {}", limit.requests_per_unit, limit.unit().as_str_name(), limit.name)
                .trim()
                .to_owned()
        })
    }

    /// Milliseconds until reset.
    pub fn reset_ms(&self, at: usize) -> Option<i64> {
        let length = self.0.statuses[at].duration_until_reset.as_ref()?;
        Some(length.seconds * 1000 + i64::from(length.nanos) / 1_000_000)
    }

    /// `name: value`, in order.
    pub fn headers(&self) -> Vec<String> {
        self.0
            .response_headers_to_add
            .iter()
            .map(|header| format!("{}: {}", header.key, header.value))
            .collect()
    }
}
