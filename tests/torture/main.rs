//! Hostile input, crashes and failing machines, against real servers.
//!
//! `make test` runs everything here in a small size, `make torture` in the size
//! that the promises are made for ([`size::Size`]).

#![cfg(test)]
#![allow(clippy::too_many_lines, reason = "a story has its length")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod support;

mod caller;
mod clock;
mod cluster;
mod crash;
mod disk;
mod hostile;
mod load;
mod neighbours;
mod operations;
mod payloads;
mod regressions;
mod replicas;
mod requests;
mod sentinel;
mod size;
mod soak;
mod upgrade;
