//! What keys hold and how changes travel: encodings and effects, without a
//! server.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

mod breaker_rules;
mod circuit;
mod effect;
mod encoding;
mod forge;
mod header;
mod intern;
mod key_filter;
mod lifetime;
mod made;
mod prefetch;
mod reserved;
mod shape;
mod tagged_box;
