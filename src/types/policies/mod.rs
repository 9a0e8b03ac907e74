//! The policies of this node (what they are: [`crate::core::policies`]).
//!
//! | file | idea |
//! |---|---|
//! | [`json`] | export and import |
//! | [`node`] | the one table of this node, and the questions that commands ask it |

pub mod json;
pub mod node;
