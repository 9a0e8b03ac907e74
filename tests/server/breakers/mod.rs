//! Circuit breakers, alone and with limits behind them, on a real server.

mod bulkhead;
mod bulkhead_histories;
mod durable;
mod histories;
pub mod kit;
mod limit;
mod named;
mod reporters;
mod rules;
mod seen;
mod vectors;
