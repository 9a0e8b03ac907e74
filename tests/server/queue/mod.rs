//! Queues, with clients that really block.

pub mod histories;
pub mod kit;
mod odd;
mod promises;
mod told;
mod waiting;
