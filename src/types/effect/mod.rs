//! Effects, by which changes travel. An effect is encoded once, and applied with the same code on
//! the master, on replicas and from the AOF.

pub mod breaker;
pub mod header;
mod kinds;
pub mod policy;
pub mod ratelimit;
