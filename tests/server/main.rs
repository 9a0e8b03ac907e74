//! Everything that needs a server, against real servers started by the tests.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../models/mod.rs"]
mod models;
#[path = "../support/mod.rs"]
mod support;

mod breakers;
mod clients;
mod durability;
mod histories;
mod limits;
mod module;
mod operators;
mod pages;
mod queue;
mod reservations;
mod shipped;
