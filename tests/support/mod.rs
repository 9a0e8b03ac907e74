//! What the test programs share that needs no server: random numbers that a seed
//! repeats, the checksum of RDB files, a key that effects alone change, usage under
//! other limits, the six numbers of a decision by their names, access logs, the folder of
//! the project, and a word on what could not be tried.

#![allow(dead_code, reason = "no single test program needs every part of it")]

mod access_log;
mod checksum;
mod dice;
mod effect_key;
mod handed_on;
mod not_tried;
mod rate_limit_reply;
mod root;

#[allow(unused_imports, reason = "as above")]
pub use self::{
    access_log::{LoggedRequest, logged_requests, named_log},
    checksum::crc64,
    dice::Dice,
    effect_key::EffectKey,
    handed_on::{Realigned, look_at, realign},
    not_tried::not_tried,
    rate_limit_reply::{BY_ANOTHER_ITEM, ExpectedReply, RateLimitReply, charged, denied, granted},
    root::root,
};
