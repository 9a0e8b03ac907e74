//! The middle of every command: resolve → decide → apply → propagate → reply.

pub mod acquire;
pub mod apply;
pub mod breaker;
pub mod charge;
pub mod closing;
pub mod copies;
pub mod ends;
pub mod error;
pub mod listed;
pub mod operated;
pub mod policies;
pub mod reply;
pub mod reserve;
pub mod resolve;
pub mod track;
pub mod words;

pub use error::Error;
