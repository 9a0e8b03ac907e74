//! The report of a call that is over, and who made it.

use super::answer::ReportOutcome;
use super::permit::Permit;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The outcome of the call.
    pub outcome: ReportOutcome,
    /// The permit of the call, if the caller sends it.
    pub permit: Option<Permit>,
    /// The duration of the call in microseconds, if the caller sends it.
    pub duration_us: Option<u64>,
    /// The reporter of the result.
    pub reporter: Reporter,
}

impl Report {
    /// A report without the name of a reporter.
    pub const fn new(outcome: ReportOutcome, permit: Option<Permit>, duration_us: Option<u64>) -> Self {
        Self { outcome, permit, duration_us, reporter: Reporter::UNNAMED }
    }

    /// True if it may matter who reports: failures and slow calls count by reporter.
    pub fn may_count_reporter(&self) -> bool {
        self.outcome == ReportOutcome::Fail || self.duration_us.is_some()
    }
}

/// The longest name of a reporter, in bytes.
pub const REPORTER_BYTES: usize = 128;

/// A reporter, as the hash of its name: 128 bits of FNV-1a, so that a name takes the same room
/// whatever its length.
///
/// Two names count as one only if their hashes agree in all 128 bits. By chance that does not
/// happen. Somebody who constructs two such names gains nothing: whoever may report may report
/// under any name, also that of another. The hash has no key, so a replica and a restarted server
/// know the same reporters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reporter {
    // Two halves, because a `u128` would need an alignment of 16 bytes.
    high: u64,
    low: u64,
}

impl Reporter {
    /// All reports without a name. They count as one reporter.
    pub const UNNAMED: Self = Self { high: 0, low: 0 };

    /// The reporter of this name; `None` if the name is empty or too long.
    pub fn named(name: &[u8]) -> Option<Self> {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = (1 << 88) + 0x13b;
        if name.is_empty() || name.len() > REPORTER_BYTES {
            return None;
        }
        let hash = name.iter().fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
        // 0 stands for no name.
        Some(Self::from_bits(hash.max(1)))
    }

    /// The reporter for which [`Reporter::bits`] gave `bits`.
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// The hash of the name; 0 without a name.
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// True if it has a name.
    pub const fn is_named(self) -> bool {
        self.high | self.low != 0
    }
}
