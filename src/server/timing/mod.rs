//! Timers, and measurements of time.

pub mod command_timing;
pub mod stall;
pub mod timer;
pub mod wake_timer;
