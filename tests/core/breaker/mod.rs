//! Circuit breakers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod encoding;
mod grammar;
mod histories;
mod key;
mod reporters;
mod rules;
mod vectors;
