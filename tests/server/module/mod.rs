//! What the module shares with the server: its keys, memory, rights, errors and events.

mod acl;
mod clock;
mod commands;
mod doors;
mod errors;
mod eviction;
mod expiry;
mod interning;
mod io_threads;
mod keyspace;
mod listener;
mod newcomer_errors;
mod nonsense;
mod servers;
