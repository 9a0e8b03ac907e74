//! Optimisations of this layer. Each file opens with its figure and names the plain alternative.

pub mod prefetch;
pub mod shared_replies;
