//! The commands of circuit breakers, one file a command or a small family.

pub mod acquire;
pub mod limit;
pub mod operate;
pub mod report;
pub mod state;
