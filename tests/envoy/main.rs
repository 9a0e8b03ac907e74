//! `floodgate-envoy`, asked over gRPC and by real Envoys, with real servers
//! behind it. Time is the servers' own clock under the tests' control.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

mod fixtures;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../models/mod.rs"]
mod models;
#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod examples;
mod kuadrant;
mod leases;
mod log;
mod modes;
mod operate;
mod package;
mod protocol;
mod quotas;
mod reload;
mod secrets;
mod through_envoy;
