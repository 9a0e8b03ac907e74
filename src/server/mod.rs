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

pub mod alarm;
pub mod alloc;
pub mod api;
pub mod args;
mod audience;
pub mod blocking;
pub mod call;
pub mod command;
pub mod context;
pub mod data_type;
pub mod events;
pub mod info;
pub mod key;
pub mod keyspace;
pub mod load;
pub mod log;
pub mod main_thread;
pub mod packed;
pub mod prefetch;
pub mod random;
pub mod replicate;
pub mod reply;
pub mod settings;
pub mod stall;
pub mod stopwatch;
pub mod timer;
pub mod words;
