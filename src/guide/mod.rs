//! Pages for people who change the code. Start with [`request`].
//!
//! | page | it answers |
//! |---|---|
//! | [`request`] | What happens between the bytes of `RL.ACQUIRE` and its reply? |
//! | [`layers`] | Which folder may use which, and why? |
//! | [`durability`] | How does a change reach replicas, the AOF and RDB files? |
//! | [`threads`] | Which thread runs what, who may call back into us, and what state is there? |
//! | [`glossary`] | What does each word mean? |
//! | [`add_an_algorithm`] | How do I add a kind of limit? |
//! | [`add_a_command`] | How do I add a command? |
//! | [`add_a_setting`] | How do I add a setting? |
//! | [`add_a_metric`] | How do I add a counter or a gauge? |
//!
//! Tests check the pages: each file that a page names exists, each link leads somewhere, and the
//! table of state lists every `static` of the library.

#[doc = include_str!("request.md")]
pub mod request {}

#[doc = include_str!("layers.md")]
pub mod layers {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("threads.md")]
pub mod threads {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("add_an_algorithm.md")]
pub mod add_an_algorithm {}

#[doc = include_str!("add_a_command.md")]
pub mod add_a_command {}

#[doc = include_str!("add_a_setting.md")]
pub mod add_a_setting {}

#[doc = include_str!("add_a_metric.md")]
pub mod add_a_metric {}
