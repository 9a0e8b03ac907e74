//! What operators can see.

pub mod events;
pub mod metrics;
