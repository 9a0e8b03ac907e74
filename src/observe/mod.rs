//! Everything that operators can see: metrics, busy keys, events and alerts.

pub mod alerts;
pub mod events;
pub mod key_mask;
pub mod labels;
pub mod metrics;
pub mod top;
