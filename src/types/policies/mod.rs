//! The policies of this server. [`crate::core::policies`] says what a policy is.
//!
//! | file | idea |
//! |---|---|
//! | [`json`] | export and import |
//! | [`node`] | the one table of this server, and the questions that commands ask it |

pub mod json;
pub mod node;
