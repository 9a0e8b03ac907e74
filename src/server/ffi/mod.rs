//! Functions of the module API, each behind a safe wrapper.

pub mod alloc;
pub mod api;
pub mod args;
pub mod call;
pub mod info;
pub mod log;
pub mod random;
pub mod reply;
