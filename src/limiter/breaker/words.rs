//! How replies show the states and the permits of breakers.

use crate::core::breaker::{CircuitState, Permit};
use crate::server::context::Context;
use crate::server::fast::shared_replies::SharedReplies;
use crate::server::ffi::reply::{self, Reply};

static STATES: SharedReplies = SharedReplies::new(&CircuitState::NAMES);

/// Writes the token of an admitted call.
impl Reply for Permit {
    fn send(&self, ctx: &Context<'_>) {
        reply::bytes(ctx, self.text().as_bytes());
    }
}

impl Reply for CircuitState {
    fn send(&self, ctx: &Context<'_>) {
        STATES.send(ctx, *self as usize);
    }
}
