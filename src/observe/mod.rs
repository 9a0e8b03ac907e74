//! What operators can see.

pub mod alerts;
pub mod breakers;
pub mod events;
pub mod labels;
pub mod metrics;
pub mod names;
pub mod top;
