//! When something ends, if it does.

use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// Until when something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// It ends at this moment.
    At(Micros),
    /// It does not end by itself.
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

impl Until {
    /// How long it still lasts.
    pub const fn wait(self, now: Micros) -> RetryAfter {
        match self {
            Self::At(end) => RetryAfter::After(end.since(now)),
            Self::Forever => RetryAfter::Never,
        }
    }

    /// When it ends, if it does.
    pub const fn end(self) -> Option<Micros> {
        match self {
            Self::At(end) => Some(end),
            Self::Forever => None,
        }
    }

    /// True while it lasts.
    pub fn lasts(self, now: Micros) -> bool {
        match self {
            Self::At(end) => now < end,
            Self::Forever => true,
        }
    }
}

/// From when until when something lasts, by a clock that may step back: what began
/// after now counts as begun now, and lasts no longer than its own length from then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    since: Micros,
    until: Until,
}

impl Lasting {
    /// From `since` on. What does not end keeps no beginning.
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

    /// When it began, as was recorded last; 0 where that is not known.
    pub const fn since(self) -> Micros {
        self.since
    }

    /// When it ends, as was recorded last.
    pub const fn recorded(self) -> Until {
        self.until
    }

    /// When it ends by the clock of now.
    pub const fn until(self, now: Micros) -> Until {
        match self.until {
            Until::At(end) => Until::At(end.minus(self.since.since(now))),
            Until::Forever => Until::Forever,
        }
    }

    /// True while it lasts.
    pub fn lasts(self, now: Micros) -> bool {
        self.until.lasts(now)
    }

    /// True when the clock stepped back to before it began.
    pub fn stepped_back(self, now: Micros) -> bool {
        now < self.since
    }

    /// The same as begun no later than now.
    #[must_use]
    pub fn seen_at(self, now: Micros) -> Self {
        Self::new(self.since.min(now), self.until(now))
    }
}
