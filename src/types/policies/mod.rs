//! The policies of this server. [`crate::core::policies`] says what a policy is.
//!
//! | file | idea |
//! |---|---|
//! | [`mod@file`] | a file of policies |
//! | [`json`] | export and import |
//! | [`node`] | the one table of this server, and the questions that commands ask it |

pub mod file;
pub mod json;
pub mod node;
