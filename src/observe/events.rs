//! Transitions of breakers, published as JSON for subscribers.

use crate::core::breaker::Transition;
use crate::observe::key_mask;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::settings;
use serde::Serialize;
use std::ffi::CStr;

/// The channel on which events are published.
pub const CHANNEL: &CStr = c"floodgate:events";

/// The event of a breaker's transition.
#[derive(Debug, Serialize)]
struct BreakerTransition {
    event: &'static str,
    /// The name of the key, masked if the setting says so. Bytes that are not UTF-8 are replaced.
    key: String,
    from: &'static str,
    to: &'static str,
    cause: &'static str,
    epoch: u64,
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
}

/// Publishes a transition, unless the setting `events` is `no`.
pub fn breaker_transition(ctx: &Context<'_>, key: Arg<'_>, transition: &Transition) {
    if !settings::events(ctx.main()) {
        return;
    }
    let event = BreakerTransition {
        event: "breaker",
        key: key_mask::shown_text(ctx.main(), key.bytes()),
        from: transition.from.name(),
        to: transition.to.name(),
        cause: transition.cause.name(),
        epoch: transition.epoch,
        at_ms: transition.at.0 / 1000,
    };
    if let Ok(text) = serde_json::to_vec(&event) {
        ctx.publish(CHANNEL, &text);
    }
}
