//! Whether a call counts towards its key's usage.

use crate::core::usage::Decided;
use crate::observe::metrics;
use crate::server::main_thread::MainThread;
use crate::settings;
use crate::types::effect::ratelimit::RateLimitChange;
use crate::types::ratelimit::{RateLimit, tracked};

/// Whether the key may carry usage: it does already, or there is room for one
/// key more. A key that may not is counted among those refused.
pub fn may(main: MainThread, value: Option<&RateLimit>) -> bool {
    if value.is_some_and(|value| value.usage().is_some()) {
        return true;
    }
    let room = tracked::has_room();
    if !room {
        metrics::count(main, |m| &mut m.track_refused);
    }
    room
}

/// Whether any key at all is or will be tracked that nobody asks for: otherwise
/// there is no need to look at each.
#[inline]
pub fn any(main: MainThread) -> bool {
    tracked::count() > 0 || settings::track_usage(main)
}

/// Whether a decision on the key is counted: the key is tracked already, or the
/// call or the server asks for it and there is room.
#[inline]
pub fn counts(main: MainThread, value: Option<&RateLimit>, asked: bool) -> bool {
    value.is_some_and(|value| value.usage().is_some())
        || ((asked || settings::track_usage(main)) && may(main, value))
}

/// The change that counts a decision on a request of so many units.
pub const fn decided(cost: u64, granted: u64) -> RateLimitChange<'static> {
    RateLimitChange::Count(Decided { granted, denied: cost.saturating_sub(granted) })
}
