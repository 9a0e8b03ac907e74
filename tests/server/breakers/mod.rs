//! Circuit breakers, alone and with limits behind them, on a real server.

mod bulkhead;
mod bulkhead_histories;
mod durable;
pub mod fixtures;
mod histories;
mod limit;
mod named;
mod observability;
mod reporters;
mod rules;
mod vectors;
