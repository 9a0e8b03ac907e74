//! Usage: the events of one key, by hour and by day, in bounded memory.
//!
//! | file | idea |
//! |---|---|
//! | [`spend`] | money as a whole number of pico-units, so decimals are exact |
//! | [`durations`] | durations in logarithmic buckets |
//! | [`tally`] | what is counted |
//! | [`series`] | counts by hour and day |
//! | [`encoding`] | usage as bytes, validated when read |
//!
//! # What it costs
//! A key costs 192 bytes, and 96 more for each hour (of 24) and each day (of 30) with an event.
//! Each bucket of durations in use costs 16 bytes, once for all time and once for today; there are
//! at most 528 buckets. So a key that is busy around the clock costs about 6 KB, and none can cost
//! more than 23 KB.

pub mod durations;
pub mod encoding;
pub mod series;
pub mod spend;
pub mod tally;

pub use durations::Durations;
pub use series::{DAYS, HOURS, KEPT_US, SeriesPeriod, UsageSeries};
pub use spend::Spend;
pub use tally::{Decided, UsageTally, WorkOutcome};
