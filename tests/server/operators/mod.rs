//! What operators set, and what they see: policies, pins, settings, figures and alerts.

mod alerts;
mod clear;
mod cluster_policies;
mod cluster_policies_in_time;
mod ends;
mod every_setting;
mod gauges;
mod info;
mod metrics;
mod operate;
mod policies;
mod policies_file;
mod settings;
mod top;
mod unseen;
