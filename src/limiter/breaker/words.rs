//! The states of breakers as replies say them.

use crate::core::breaker::CircuitState;
use crate::server::context::Context;
use crate::server::fast::shared_replies::SharedReplies;

static STATES: SharedReplies = SharedReplies::new(&CircuitState::NAMES);

/// Sends the name of a state as a bulk string.
pub fn send_state(ctx: &Context<'_>, state: CircuitState) {
    STATES.send(ctx, state as usize);
}
