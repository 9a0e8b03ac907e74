//! What the test programs share that needs no server: random numbers that a seed
//! repeats, and the checksum of RDB files.

#![allow(dead_code, reason = "no single test program needs every part of it")]

mod checksum;
mod dice;

#[allow(unused_imports, reason = "as above")]
pub use self::{checksum::crc64, dice::Dice};
