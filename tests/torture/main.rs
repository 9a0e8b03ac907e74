//! Hostile input, crashes and failing machines, against real servers.
//!
//! `make test` runs everything here in a small size, `make torture` in the size
//! that the promises are made for ([`size::Size`]).

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    reason = "a test that meets the unexpected must fail at once, and its name says what it shows"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod caller;
mod chance;
mod clock;
mod cluster;
mod crash;
mod disk;
mod found;
mod hostile;
mod load;
mod neighbours;
mod operations;
mod payloads;
mod replicas;
mod requests;
mod sentinel;
mod size;
mod soak;
mod upgrade;
