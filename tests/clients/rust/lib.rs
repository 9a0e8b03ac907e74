//! Floodgate for a service in Rust: copy the modules that you need.

pub mod breaker;
pub mod floodgate;
pub mod layer;
pub mod reservation;
