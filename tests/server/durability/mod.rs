//! What replicas, AOF, RDB and payloads hold, and what older versions wrote.

mod audience;
mod copies;
mod forks;
mod odd_replicas;
mod payloads;
mod removed;
mod stream;
pub mod traffic;
mod transparency;
mod written_by_0_1;
