//! The commands, one file a family: parse the arguments → resolve → decide → apply → propagate →
//! reply.

pub mod acquire;
pub mod alerts;
pub mod arguments;
pub mod batch;
pub mod breaker;
pub mod charge;
pub mod clear;
pub mod commit;
pub mod cursor;
pub mod debug;
pub mod effect;
pub mod help;
mod hints;
pub mod metrics;
pub mod operate;
pub mod options;
pub mod policy;
pub mod queue;
pub mod quota;
mod quota_headers;
mod quota_view;
pub mod refund;
pub mod reserve;
pub mod throttle;
pub mod top;
pub mod usage;
