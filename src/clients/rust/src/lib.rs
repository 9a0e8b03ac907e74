#![doc = include_str!("../README.md")]
// What the README names is elsewhere where the feature is off.
#![cfg_attr(
    not(feature = "guard"),
    doc = "",
    doc = "[`Guard`]: https://docs.rs/floodgate-redis/latest/floodgate_redis/struct.Guard.html",
    doc = "[`Cache`]: https://docs.rs/floodgate-redis/latest/floodgate_redis/struct.Cache.html"
)]

mod acquire;
#[cfg(feature = "axum")]
pub mod axum;
mod breaker;
#[cfg(feature = "guard")]
mod cache;
mod charge;
mod connection;
mod decision;
mod denials;
mod error;
mod fallback;
#[cfg(feature = "guard")]
mod guard;
mod health;
mod lease;
mod limiter;
mod manner;
#[cfg(feature = "guard")]
mod memory;
mod quota;
mod reservation;
mod server;
mod telemetry;
#[cfg(feature = "tower")]
pub mod tower;

pub use acquire::Acquire;
pub use breaker::{Admitted, Breaker, CallError};
#[cfg(feature = "guard")]
pub use cache::Cache;
pub use charge::Charge;
pub use decision::{Decision, Source};
pub use error::Error;
pub use fallback::{FailClosed, FailOpen, Fallback, LocalBucket};
#[cfg(feature = "guard")]
pub use guard::{Guard, GuardError, PaidCall};
pub use lease::{Lease, LeaseCounters};
pub use limiter::{BatchItem, Counters, Headers, Limiter};
pub use quota::{Blocked, LimitStatus, Quota};
pub use redis;
pub use reservation::{Reservation, Reserve, ReserveError};
pub use server::{Options, Server};
