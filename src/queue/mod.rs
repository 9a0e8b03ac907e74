//! WAIT and RL.QUEUE: waiting lines inside the server.
//!
//! Clients are the server's own blocked clients; who is next is decided by
//! [`crate::core::wait_queue::WaitQueues`]; a line is looked at by one alarm clock for all of them, at the
//! moment when its head's units should be free, and at once after whatever may
//! have moved it. So a line at rest costs nothing, and a server where nobody
//! waits has neither a timer nor a listener: commands ask [`any`] and go on.
//!
//! | file | idea |
//! |---|---|
//! | `state` | who waits |
//! | `admission` | what becomes of a request where a line stands, or that may wait |
//! | `request` | what a waiter wants, and how it is decided and answered |
//! | `behind` | the denial of a request while others wait |
//! | `forecast` | when a line will have been served |
//! | `moves` | what moves a line, and when to look at it |
//! | `serve` | serving the lines whose time has come |
//! | `answer` | what becomes of a client whose wait has ended |
//! | `key_filter` | which keys may have a line, for next to nothing |
//! | [`status`] | how long the queues are, for RL.QUEUE, INFO and alerts |

mod admission;
mod answer;
mod behind;
mod forecast;
mod key_filter;
mod moves;
mod request;
mod serve;
mod state;
pub mod status;

pub use admission::{QueueAdmission, admit, decide, join, look, served_by, wait_option};
pub use moves::limits_changed;
pub use request::QueuedRequest;
pub use serve::clock_changed;
pub use state::{any, has_queue};
