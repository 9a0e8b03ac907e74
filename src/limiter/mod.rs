//! The middle of every command: resolve → decide → apply → propagate → reply.
//!
//! | file | idea |
//! |---|---|
//! | [`resolve`] | the limits that hold for a call: a pin, the call's own, a policy's, the default |
//! | [`acquire`], [`mod@reserve`], [`charge`] | the decision on a request, a reservation, a charge |
//! | [`ends`] | when the decision changes because a pin or a block ends |
//! | [`closing`] | the blocks that a denial begins (`block=`) |
//! | [`apply`] | changes of keys, and how they are propagated |
//! | [`copies`] | copies of tracked keys, propagated |
//! | [`track`] | whether a call counts towards its key's usage |
//! | [`reply`], [`words`] | the six integers, and words that replies repeat |
//! | [`error`] | the errors that commands answer with |
//! | [`listed`], [`operated`] | the keys that operators changed, by name |
//! | [`breaker`] | the same middle for circuit breakers |
//! | [`policies`] | changes of policies, and where policies come from |

pub mod acquire;
pub mod apply;
pub mod breaker;
pub mod charge;
pub mod closing;
pub mod copies;
pub mod ends;
pub mod error;
pub mod listed;
pub mod operated;
pub mod policies;
pub mod reply;
pub mod reserve;
pub mod resolve;
pub mod track;
pub mod unnoticed;
pub mod words;

pub use error::Error;
