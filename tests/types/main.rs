//! What keys hold and how changes travel: encodings and effects, without a
//! server.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

mod breaker_rules;
mod circuit;
mod corruption;
mod effect;
mod encoding;
mod header;
mod intern;
mod key_filter;
mod lifetime;
mod prefetch;
mod reserved;
mod shape;
mod strategies;
mod tagged_box;
