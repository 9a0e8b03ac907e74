//! The algorithms and nothing else: pure functions of (state, limit, now,
//! units). Nothing here knows Redis, reads a clock or does I/O, so every
//! promise can be tested against a slow model that is obviously right.

pub mod alerts;
pub mod breaker;
pub mod busiest;
pub mod clock;
pub mod duration;
pub mod histogram;
pub mod limits;
pub mod line;
pub mod place;
pub mod prefix;
pub mod reservations;
pub mod token;
pub mod usage;
pub mod wire;
