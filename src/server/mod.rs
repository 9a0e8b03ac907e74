//! One small safe layer over the raw module API, and the only place with
//! `unsafe`.
//!
//! The safe wrappers of the `redis-module` crate decode every argument into a
//! fresh allocation and build replies as trees; on a command that runs in half
//! a microsecond that is most of the time. So commands use this layer, which
//! borrows arguments, writes replies straight to the client and finds every
//! function by its pointer: what a server lacks is left out, never refused.
//!
//! Everything here runs on the server's main thread unless it says otherwise;
//! [`main_thread::MainThread`] is the proof that travels with the context.

pub mod blocking;
pub(in crate::server) mod boundary;
pub mod cluster_bus;
pub mod context;
pub mod door;
pub mod effects;
pub mod events;
pub mod fast;
pub mod ffi;
pub mod keys;
pub mod load;
pub mod main_thread;
mod neighbours;
pub mod timing;
