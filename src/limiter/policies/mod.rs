//! The policies of this server as a whole: who changes them, and where they come from.
//!
//! | file | idea |
//! |---|---|
//! | [`commit`] | making a change, whoever asked for it |
//! | [`gossip`] | the exchange between the masters of a cluster |
//! | [`mod@file`] | policies that come with the server's configuration |
//! | [`aof`] | policies in an AOF that is rewritten, and in a dataset that is loaded |

pub mod aof;
pub mod commit;
pub mod file;
pub mod gossip;
