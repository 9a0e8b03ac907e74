//! The algorithms alone, as pure functions of (state, limit, now, units).
//!
//! Nothing here knows Redis, reads a clock or does I/O. So every promise can be tested against a
//! slow model that is obviously right.
//!
//! ```
//! use floodgate::core::limits::{Limits, Request, State, decide, take};
//! use floodgate::core::time::Micros;
//!
//! // Text becomes limits, or an error that names the bad part.
//! let limits = Limits::parse(b"10/s,1000/h").unwrap();
//! assert!(Limits::parse(b"10 per second").is_err());
//!
//! // Each limit remembers a state. A fresh state has nothing in use.
//! let mut states = vec![State::default(); limits.as_slice().len()];
//! let now = Micros(1_800_000_000_000_000);
//! let decision = decide(limits.as_slice(), &states, now, &Request::of(3));
//! assert_eq!((decision.granted, decision.status.remaining), (3, Some(7)));
//! take(limits.as_slice(), &mut states, now, &decision.taken);
//! ```

pub mod breaker;
pub mod limits;
pub mod policies;
pub mod prefetch_hint;
pub mod reservations;
pub mod retry_after;
pub mod stats;
pub mod text;
pub mod time;
pub mod usage;
pub mod wait_queue;
pub mod wire;
