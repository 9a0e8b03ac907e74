//! Properties of the pure core, against slow models that are obviously right.
//!
//! Each property is tried on at least ten thousand generated histories. Models
//! keep every grant and count again from the start at every step.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::format_push_string
)]

mod alerts;
mod breaker;
mod bucket;
mod busiest;
mod change;
mod clock_steps;
mod decide;
mod encoding;
mod fixed;
mod grammar;
mod histogram;
mod line;
mod policies;
mod prefix;
mod reservations;
mod sliding;
mod throttle;
mod usage;
mod world;
