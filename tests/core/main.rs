//! Properties of the pure core, against slow models that are obviously right.
//!
//! Each property is tried on at least ten thousand generated histories. Models
//! keep every grant and count again from the start at every step.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

#[path = "../models/mod.rs"]
mod models;
#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod breaker;
mod bucket;
mod busiest;
mod calendar;
mod change;
mod clock_steps;
mod closing;
mod credit;
mod decide;
mod encoding;
mod fixed;
mod gauges;
mod grammar;
mod histogram;
mod ledger;
mod ownership;
mod policies;
mod policies_spread;
mod prefix;
mod reservations;
mod sliding;
// With its own tests, which look inside it.
mod checked_limiter;
mod slower;
#[allow(dead_code, reason = "the tests of a part")]
#[path = "../../src/core/reservations/summed/mod.rs"]
mod summed;
mod throttle;
mod units;
mod usage;
mod wait_queue;
mod zero;
