//! Everything that needs a server, against real servers started by the tests.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod acl;
mod acquire;
mod alerts;
mod audience;
mod batch;
mod breaker_durable;
mod breaker_histories;
mod breaker_kit;
mod breaker_limit;
#[path = "../core/breaker/model.rs"]
mod breaker_model;
mod breaker_named;
mod breaker_reporters;
mod breaker_rules;
mod breaker_seen;
mod breaker_vectors;
mod bulkhead;
mod bulkhead_model;
mod charge;
mod clear;
mod client_control;
mod client_languages;
mod client_node;
mod client_python;
mod client_rights;
mod client_rust;
mod clients;
mod closing;
mod cluster_policies;
mod cluster_policies_in_time;
mod commands;
mod credit;
mod demo;
mod doors;
mod durability;
mod ends;
mod errors;
mod eviction;
mod expiry;
mod forks;
mod gauges;
mod images;
mod info;
mod interning;
mod keyspace;
mod last_grant;
mod limit_kit;
mod listener;
mod make;
mod metrics;
mod monitoring;
mod moving;
mod newcomer_errors;
mod nonsense;
mod odd_replicas;
mod operate;
mod operator_ends;
mod ownership;
mod package;
mod partial;
mod payloads;
mod places;
mod policies;
mod policies_file;
mod promises;
mod quota;
mod readme;
mod reference;
mod refund;
mod removed;
mod reservations;
mod servers;
mod settings;
mod stream;
mod throttle;
mod top;
mod torn;
mod traffic;
mod transparency;
mod units;
mod usage;
mod versions;
mod waiting;
mod waiting_kit;
mod waiting_model;
mod waiting_odd;
mod written_by_0_1;
