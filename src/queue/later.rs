//! A key at later times, for requests that several keys decide together.

use super::behind::QueueAhead;
use super::state::{has_queue, length};
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wait_queue::WaiterClass;
use crate::limiter::Error;
use crate::limiter::ends::ENDS;
use crate::limiter::resolve::KeyView;
use crate::server::context::Context;
use crate::server::ffi::args::Arg;
use crate::types::db_key::DbKey;
use crate::types::ratelimit::RateLimit;

/// A key as a denied request leaves it, and its queue.
#[derive(Debug)]
pub struct LaterKey<'v> {
    found: KeyView<'v>,
    queue: Option<DbKey>,
    class: WaiterClass,
    /// True if `found` has what the key holds.
    is_own: bool,
}

/// How many ends of a key may follow one another, for [`all_at_once`]: also those of the waits in its
/// queue.
///
/// [`all_at_once`]: crate::limiter::ends::all_at_once
pub fn ends(ctx: &Context<'_>, name: Arg<'_>) -> usize {
    ENDS + if has_queue(ctx, name) { length(ctx, name) } else { 0 }
}

impl<'v> LaterKey<'v> {
    /// The key `name`, as a request of this class finds it. `found` has a copy of what the key holds, on
    /// which a clock that stepped back is recorded. Those whom a critical request may overtake take
    /// units before it only if they can have them first.
    pub fn of(ctx: &Context<'_>, name: Arg<'v>, found: KeyView<'v>, class: WaiterClass) -> Self {
        let queue = has_queue(ctx, name).then(|| DbKey::of(ctx, name));
        Self { found, queue, class, is_own: true }
    }

    /// The same if the copy differs from what the key holds in more than the clock.
    pub fn changed(ctx: &Context<'_>, name: Arg<'v>, found: KeyView<'v>, class: WaiterClass) -> Self {
        Self { is_own: false, ..Self::of(ctx, name, found, class) }
    }

    fn queue_ahead(&self) -> Option<QueueAhead<'_>> {
        let Self { found, class, is_own, .. } = *self;
        let keeps = is_own && class == WaiterClass::Ordinary;
        Some(QueueAhead { found, db_key: self.queue.as_ref()?, class, keeps })
    }

    /// A copy of the key's value at `at`, when those have left its queue who take units before the
    /// request.
    pub fn value(&self, at: Micros) -> Option<RateLimit> {
        match self.queue_ahead() {
            Some(queue_ahead) => queue_ahead.value_at(at),
            None => self.found.value.map(RateLimit::simulation),
        }
    }

    /// The time from `at` on until a request is granted. `retry` decides it, and returns the time from
    /// the moment of its key on.
    ///
    /// # Errors
    /// Those of `retry`.
    pub fn retry(
        &self,
        at: Micros,
        retry: impl Fn(KeyView<'_>) -> Result<RetryAfter, Error>,
    ) -> Result<RetryAfter, Error> {
        match self.queue_ahead() {
            Some(queue_ahead) => Ok(queue_ahead.retry(at, retry)),
            None => retry(self.found.at(self.found.value, at)),
        }
    }
}
