//! The ways by which a change reaches the replicas and the AOF.

pub(in crate::server) mod propagation;
pub mod replicate;
