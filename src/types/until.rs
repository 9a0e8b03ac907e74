//! The end of something, if it has one.

use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};
use crate::server::context::Context;
use crate::server::ffi::reply::{self, Reply};

/// The end of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// The end is this moment.
    At(Micros),
    /// The end never comes by itself.
    Forever,
}

impl From<Micros> for Until {
    fn from(end: Micros) -> Self {
        match end {
            Micros::NEVER => Self::Forever,
            end => Self::At(end),
        }
    }
}

/// Unix milliseconds; -1 for ever.
impl Reply for Until {
    fn send(&self, ctx: &Context<'_>) {
        reply::integer(ctx, self.end().map_or(-1, |end| reply::signed(end.ceil_millis())));
    }
}

impl From<Option<Micros>> for Until {
    fn from(end: Option<Micros>) -> Self {
        end.map_or(Self::Forever, Self::At)
    }
}

impl Until {
    /// Appends the end, or 0 for "forever".
    pub fn put(self, out: &mut Vec<u8>) {
        put_u64(out, self.end().map_or(0, |end| end.0.max(1)));
    }

    /// Reads the end that [`Until::put`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] if it is cut, or later than [`Micros::MAX`].
    pub fn read(body: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(match body.u64_to(Micros::MAX.0)? {
            0 => Self::Forever,
            end => Self::At(Micros(end)),
        })
    }

    /// How long it still lasts.
    pub const fn wait(self, now: Micros) -> RetryAfter {
        match self {
            Self::At(end) => RetryAfter::After(end.since(now)),
            Self::Forever => RetryAfter::Never,
        }
    }

    /// The moment of the end, if there is one.
    pub const fn end(self) -> Option<Micros> {
        match self {
            Self::At(end) => Some(end),
            Self::Forever => None,
        }
    }

    /// The end as it is seen at `now` by something that began at `since`. If the clock stepped back
    /// to before `since`, the end comes as much earlier.
    #[must_use]
    pub const fn seen_at(self, since: Micros, now: Micros) -> Self {
        match self {
            Self::At(end) => Self::At(end.minus(since.since(now))),
            Self::Forever => Self::Forever,
        }
    }

    /// True while it lasts at `now`.
    pub fn lasts(self, now: Micros) -> bool {
        match self {
            Self::At(end) => now < end,
            Self::Forever => true,
        }
    }
}

/// The beginning and the end of something, for a clock that may step back. What began after now
/// counts as begun now, and lasts no longer than its own length from then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    since: Micros,
    until: Until,
}

impl Validity {
    /// Makes the validity from `since` until `until`. Without an end, the beginning is not kept.
    pub fn new(since: Micros, until: Until) -> Self {
        match until {
            // A stored end of 0 means that there is none.
            Until::At(end) => {
                let end = end.max(Micros(1));
                Self { since: since.min(end), until: Until::At(end) }
            }
            Until::Forever => Self { since: Micros::default(), until },
        }
    }

    /// The beginning, as was recorded last; 0 if it is not known.
    pub const fn since(self) -> Micros {
        self.since
    }

    /// The end, as was recorded last.
    pub const fn recorded(self) -> Until {
        self.until
    }

    /// The end by the present clock.
    pub const fn until(self, now: Micros) -> Until {
        self.until.seen_at(self.since, now)
    }

    /// True while it lasts at `now`.
    pub fn lasts(self, now: Micros) -> bool {
        self.until.lasts(now)
    }

    /// True if something that begins now with this end would last no other time.
    pub fn stays(self, until: Until, now: Micros) -> bool {
        !self.stepped_back(now) && self.recorded() == until
    }

    /// True if the clock stepped back to before the beginning.
    pub fn stepped_back(self, now: Micros) -> bool {
        now < self.since
    }

    /// The same, counted as begun no later than `now`.
    #[must_use]
    pub fn seen_at(self, now: Micros) -> Self {
        Self::new(self.since.min(now), self.until(now))
    }
}
