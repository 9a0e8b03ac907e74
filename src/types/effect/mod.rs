//! How a change travels: one effect, encoded once, applied with the same code on
//! the master, on replicas and from the AOF.

pub mod breaker;
pub mod limit_blocks;
pub mod policy;
pub mod ratelimit;
