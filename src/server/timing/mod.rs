//! Timers, and measurements of time.

pub mod command_timing;
pub mod cron_lag;
pub mod timer;
pub mod wake_timer;
