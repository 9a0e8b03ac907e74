//! One file a family of commands: parse arguments → resolve → decide → apply →
//! propagate → reply.

pub mod acquire;
pub mod alerts;
pub mod arguments;
pub mod batch;
pub mod breaker;
pub mod charge;
pub mod clear;
pub mod commit;
pub mod debug;
pub mod effect;
pub mod help;
pub mod metrics;
pub mod operate;
pub mod policy;
pub mod queue;
pub mod quota;
pub mod refund;
pub mod reserve;
pub mod throttle;
pub mod top;
pub mod usage;
mod way_out;
