//! Everything that needs a server, against real servers started by the tests.

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

mod acl;
mod acquire;
mod batch;
mod clear;
mod commands;
mod errors;
mod info;
mod keyspace;
mod operate;
mod policies;
mod quota;
mod refund;
mod servers;
mod settings;
mod transparency;
mod versions;
