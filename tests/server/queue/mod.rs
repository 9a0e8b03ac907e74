//! Queues, with clients that really block.

mod edge_cases;
pub mod fixtures;
mod forecasts;
pub mod histories;
mod promises;
mod waiting;
