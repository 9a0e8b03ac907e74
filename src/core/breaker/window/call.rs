//! One call as a window records it, and the sums of many.

use crate::core::breaker::report::Reporter;
use crate::core::breaker::spec::Breaker;

/// The calls in a window, and how many of them failed or were slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallTally {
    /// The number of all results.
    pub calls: u64,
    /// The number of calls that failed.
    pub failures: u64,
    /// The number of calls that were slow, failed or not.
    pub slow: u64,
}

/// One result, as a window records it.
#[derive(Clone, Copy, Debug)]
pub(in crate::core::breaker) struct CallOutcome {
    pub failed: bool,
    pub slow: bool,
    pub reporter: Reporter,
}

/// Whether a window counts slow calls beside calls and failures. Of several, the greatest holds for
/// all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::core::breaker) enum SlowCalls {
    /// No breaker looks at them, or the window is a run, which knows only failures.
    Ignored,
    /// A breaker looks at them.
    Counted,
}

impl SlowCalls {
    /// What this breaker asks for.
    pub const fn of(breaker: &Breaker) -> Self {
        if breaker.slow_us().is_some() { Self::Counted } else { Self::Ignored }
    }

    /// What a window with this counter of slow calls does.
    pub const fn by<T>(counter: Option<&T>) -> Self {
        if counter.is_some() { Self::Counted } else { Self::Ignored }
    }

    /// True if they are counted.
    pub const fn are_counted(self) -> bool {
        matches!(self, Self::Counted)
    }

    /// A new counter of slow calls, if they are counted.
    pub fn counter<T>(self, new: impl FnOnce() -> T) -> Option<T> {
        self.are_counted().then(new)
    }
}

/// The results that windows keep beside calls and failures. All windows of a circuit keep the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Keeps {
    /// Whether slow calls are counted. A run counts none.
    pub slow: SlowCalls,
    /// True if reporters are kept.
    pub reporters: bool,
}
