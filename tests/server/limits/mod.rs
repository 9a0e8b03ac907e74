//! What limits grant, deny, give back and say, on a real server.

pub mod access_log;
mod acquire;
mod batch;
mod charge;
mod closing;
mod credit;
pub mod fixtures;
mod last_grant;
mod periods;
mod quota;
mod refund;
mod throttle;
mod units;
mod usage;
mod versions;
