//! Slow models that are obviously right: each keeps all that ever happened and counts it
//! again from the start at every question. Each file says what its model promises.

#![allow(dead_code, reason = "no single test program needs every model")]

pub mod alerts;
pub mod breaker;
pub mod bucket;
pub mod bulkhead;
pub mod calendar;
pub mod closing;
pub mod credit;
pub mod grants;
pub mod limit;
pub mod ownership;
pub mod periods;
pub mod policies;
pub mod queue;
pub mod reservations;
pub mod throttle;
pub mod usage;
pub mod wait_queue;
