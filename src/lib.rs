//! Floodgate: rate limits, quotas, waiting lines and circuit breakers as
//! native, atomic commands of a Redis server.
//!
//! Data flows one way: parse → resolve → decide → apply → propagate → reply.
//! [`core`] holds the algorithms and knows no Redis, no clock and no I/O.

pub mod core;
pub mod server;
