//! One call as a window records it, and the sums of many.

use crate::core::breaker::reporter::Reporter;
use crate::core::wire::{Corrupt, Reader};

/// Calls in a window, and how many of them failed or were slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallTally {
    /// All results.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, failed or not.
    pub slow: u64,
}

impl CallTally {
    /// `part` of the calls in hundredths of a percent, rounded down.
    pub(in crate::core::breaker) fn hundredths(&self, part: u64) -> u16 {
        let share = u128::from(part) * 10_000 / u128::from(self.calls.max(1));
        u16::try_from(share).unwrap_or(10_000)
    }
}

/// One result, as a window records it.
#[derive(Clone, Copy, Debug)]
pub(in crate::core::breaker) struct CallOutcome {
    pub failed: bool,
    pub slow: bool,
    pub reporter: Reporter,
}

/// What windows keep beside calls and failures; all of a circuit keep the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::breaker) struct Keeps {
    /// Slow calls; a run knows only failures.
    pub slow: bool,
    /// Who reported what.
    pub reporters: bool,
}

/// A number of at most `max`.
pub(super) fn read_u32(reader: &mut Reader, max: u32) -> Result<u32, Corrupt> {
    u32::try_from(reader.u64_to(max.into())?).map_err(|_| Corrupt("number out of range"))
}
