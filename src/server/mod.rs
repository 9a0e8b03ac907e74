//! A small safe layer over the raw module API, and the only place with `unsafe`.
//!
//! The safe wrappers of the `redis-module` crate copy every argument into a new allocation and
//! build replies as trees. In a command that takes half a microsecond, this is most of the time. So
//! commands use this layer: it borrows arguments and writes replies straight to the client. It
//! finds every function of the API by its pointer, so a server that lacks one still loads the
//! module, without what needs it.
//!
//! Everything here runs on the server's main thread unless its doc says otherwise.
//! [`main_thread::MainThread`] is the proof that travels with the context.

pub mod blocking;
pub(in crate::server) mod boundary;
pub mod cluster_bus;
pub mod cluster_slot;
pub mod context;
pub mod effects;
pub mod events;
pub mod fast;
pub mod ffi;
pub mod keys;
pub mod load;
pub mod main_thread;
pub mod other_modules;
pub mod timing;
pub mod write_check;
