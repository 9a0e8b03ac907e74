//! What operators can see.

pub mod metrics;
