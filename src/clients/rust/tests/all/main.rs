//! The client on real servers, which are killed, frozen and started again meanwhile.
//!
//! They are asked for from who runs the tests: see `fixtures.rs`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod breaker;
mod cluster;
mod fixtures;
mod guard;
mod lease;
mod limiter;
mod outage;
mod processes;
mod reservation;
mod tower;
mod web;
