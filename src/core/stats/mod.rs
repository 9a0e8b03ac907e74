//! Statistics of many events in little memory.

pub mod alerts;
pub mod gauge_schedule;
pub mod heavy_hitters;
pub mod histogram;
