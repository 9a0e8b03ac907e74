//! The algorithms and nothing else: pure functions of (state, limit, now,
//! units). Nothing here knows Redis, reads a clock or does I/O, so every
//! promise can be tested against a slow model that is obviously right.

pub mod breaker;
pub mod limits;
pub mod prefetch_hint;
pub mod reservations;
pub mod retry_after;
pub mod stats;
pub mod text;
pub mod time;
pub mod usage;
pub mod wait_queue;
pub mod wire;
