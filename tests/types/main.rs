//! What keys hold and how changes travel: encodings and effects, without a
//! server.

#![allow(
    missing_docs,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail at once"
)]

mod circuit;
mod effect;
mod encoding;
mod forge;
mod intern;
mod lifetime;
mod made;
mod shape;
