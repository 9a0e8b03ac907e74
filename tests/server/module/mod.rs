//! What the module shares with the server: its keys, memory, rights, errors and events.

mod acl;
mod clock;
mod cluster_slot;
mod commands;
mod differences;
mod errors;
mod eviction;
mod expiry;
mod interning;
mod invalid_input;
mod io_threads;
mod key_lookup;
mod keyspace;
mod listener;
mod load;
mod newcomer_errors;
mod refused_writes;
mod servers;
