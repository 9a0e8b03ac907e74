//! What the tests start and how they ask.

mod asking;
mod borrower;
mod envoy;
mod gateway;
mod http;
mod service;

#[allow(unused_imports, reason = "a kit")]
pub use self::{
    asking::{Answer, Asked, Asking, RUNTIME, descriptor},
    borrower::{Borrower, Lent},
    envoy::Envoy,
    gateway::Gateway,
    http::{Page, get},
    service::{PATIENCE, Service},
};

/// A Monday noon, in microseconds since 1970: 2027-01-18 12:00 UTC.
pub const NOON: i64 = 1_800_273_600_000_000;
