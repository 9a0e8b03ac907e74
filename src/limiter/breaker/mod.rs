//! The same for circuit breakers: resolve → decide → apply → propagate → reply.

pub mod apply;
pub mod open;
pub mod resolve;
pub mod words;
