//! One call as a window records it, and the sums of many.

use crate::core::breaker::report::Reporter;

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

/// The results that windows keep beside calls and failures. All windows of a circuit keep the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Keeps {
    /// True if slow calls are kept. A run knows only failures.
    pub slow: bool,
    /// True if reporters are kept.
    pub reporters: bool,
}
