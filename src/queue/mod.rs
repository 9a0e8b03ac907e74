//! Queues of waiting clients inside the server, for WAIT and RL.QUEUE.
//!
//! Waiters are the server's own blocked clients. [`crate::core::wait_queue::WaitQueues`] decides
//! who is next. One timer serves all queues: it looks at a queue at the moment when the units for
//! its head should be free. Whatever may have moved a queue makes the module look at it at once. So
//! a queue at rest costs nothing. While nobody waits there is neither a timer nor a listener:
//! commands ask [`has_queue`] and go on.
//!
//! | file | idea |
//! |---|---|
//! | `state` | who waits |
//! | `admission` | the outcome for a request that meets a queue, or that may wait |
//! | `request` | the request of a waiter, and how it is decided and answered |
//! | `behind` | the decision on a request while others wait |
//! | `forecast` | when a queue will have been served |
//! | `later` | a key at later times, for requests that several keys decide together |
//! | `moves` | the events that move a queue, and when to look at it next |
//! | `serve` | serving the queues whose time has come |
//! | `answer` | answering a client whose wait has ended |
//! | [`key_filter`] | which keys may have a queue, for a few instructions |
//! | [`status`] | how long the queues are, for RL.QUEUE, INFO and alerts |

mod admission;
mod answer;
mod behind;
mod forecast;
pub mod key_filter;
mod later;
mod moves;
mod request;
mod serve;
mod state;
pub mod status;

pub use admission::{QueueAdmission, admit, decide, join, retry_behind, wait_option};
pub use later::{LaterKey, ends};
pub use moves::limits_changed;
pub use request::{QueuedDecision, QueuedRequest};
pub use serve::clock_changed;
pub use state::{has_queue, note_reserved};
