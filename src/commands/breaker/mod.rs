//! The commands of circuit breakers: a file for each command, or for a small family.

pub mod acquire;
pub mod limit;
pub mod operate;
pub mod report;
pub mod state;
