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
