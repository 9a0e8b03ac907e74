//! The middle of the commands on circuit breakers: resolve → decide → apply → propagate → reply.

pub mod apply;
pub mod open;
pub mod resolve;
