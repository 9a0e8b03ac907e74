//! Usage: what happened on one key, by hour and by day, in bounded memory.
//!
//! | file | idea |
//! |---|---|
//! | [`spend`] | money as a whole number of pico-units: exact decimals |
//! | [`durations`] | how long things took, in logarithmic buckets |
//! | [`tally`] | what is counted |
//! | [`series`] | counts by hour and day, and how they turn over |
//! | [`encoding`] | all of it as bytes, validated on the way in |
//!
//! # What it costs
//! 192 bytes, 96 for each hour (of 24) and each day (of 30) in which something
//! happened, and 16 for each bucket of durations in use, of at most 528, in all
//! and again today. So a key that is busy around the clock costs some 6 KB, and
//! none can cost more than 23 KB.

pub mod durations;
pub mod encoding;
pub mod series;
pub mod spend;
pub mod tally;

pub use durations::Durations;
pub use series::{DAYS, HOURS, KEPT_US, SeriesPeriod, UsageSeries};
pub use spend::Spend;
pub use tally::{Decided, UsageTally, WorkOutcome};
