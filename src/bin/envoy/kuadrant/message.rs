//! The messages of `kuadrant.service.ratelimit.v1` that Envoy does not have. The names and numbers
//! of all fields are those of limitador's `kuadrantrls.proto`, as its pull request 515 merged it in
//! September 2026.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::google::protobuf::Duration;

/// A request to hold capacity until it is committed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReserveRequest {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    #[prost(uint64, tag = "3")]
    pub amount: u64,
    #[prost(message, optional, tag = "4")]
    pub ttl: Option<Duration>,
}

/// The answer to a [`ReserveRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReserveResponse {
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The ID of the reservation. Empty if no capacity is held.
    #[prost(string, tag = "2")]
    pub reservation_id: String,
}

/// A report of what was really used of a reservation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitRequest {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    #[prost(string, tag = "3")]
    pub reservation_id: String,
    #[prost(uint64, tag = "4")]
    pub actual_amount: u64,
}

/// The answer to a [`CommitRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CommitResponse {
    /// True if the capacity was still held, and is released now.
    #[prost(bool, tag = "1")]
    pub reservation_released: bool,
}
