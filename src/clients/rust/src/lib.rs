#![doc = include_str!("../README.md")]

mod acquire;
#[cfg(feature = "axum")]
pub mod axum;
mod breaker;
mod connection;
mod decision;
mod denials;
mod error;
mod fallback;
mod health;
mod lease;
mod limiter;
mod quota;
mod reservation;
mod server;
#[cfg(feature = "tower")]
pub mod tower;

pub use acquire::Acquire;
pub use breaker::{Admitted, Breaker, CallError};
pub use decision::{Decision, Source};
pub use error::Error;
pub use fallback::{FailClosed, FailOpen, Fallback, LocalBucket};
pub use lease::{Lease, LeaseCounters};
pub use limiter::{BatchItem, Counters, Headers, Limiter};
pub use quota::{Blocked, LimitStatus, Quota};
pub use redis;
pub use reservation::{Reservation, Reserve, ReserveError};
pub use server::{Options, Server};
