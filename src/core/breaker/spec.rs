//! The rule of a circuit breaker.
//!
//! Its fields are private and only [`Breaker::parse`] makes one, so an impossible breaker does not
//! exist.

use crate::core::text::duration::{DAY, HOUR, MINUTE};
use crate::core::text::hundredths::Hundredths;
use crate::core::text::percent::Percent;
use std::ops::RangeInclusive;

/// The largest number of failures that a trip by count can name, and the largest `min`.
pub const MAX_COUNT: u32 = 1_000_000;
/// The largest number of calls that `P%/Ncalls` can look back on.
pub const MAX_CALLS: u16 = 1_000;
/// The largest number of different reporters that a trip can ask for.
pub const MAX_REPORTERS: u8 = 8;
/// The largest number of trial calls in one half-open round.
pub const MAX_PROBES: u8 = 100;
/// The bounds of `backoff=`, the factor by which each opening in a row lasts longer.
pub(super) const BACKOFF: RangeInclusive<Hundredths> = Hundredths::ONE..=Hundredths::whole(100);

/// The condition that opens a closed circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trip {
    /// `N`: this many failures in a row.
    Consecutive {
        /// The number of failures, 1 to [`MAX_COUNT`].
        failures: u32,
    },
    /// `N/period`: this many failures within a sliding period.
    Count {
        /// The number of failures, 1 to [`MAX_COUNT`].
        failures: u32,
        /// The length of the period in microseconds.
        period_us: u64,
    },
    /// `P%/period`: this failure rate over a sliding period.
    RatePeriod {
        /// The rate that trips.
        rate: Percent,
        /// The length of the period in microseconds.
        period_us: u64,
    },
    /// `P%/Ncalls`: this failure rate over the last N calls.
    RateCalls {
        /// The rate that trips.
        rate: Percent,
        /// The number of calls, 1 to [`MAX_CALLS`].
        calls: u16,
    },
}

impl Trip {
    /// The failure rate, for the two trips that have one.
    pub const fn rate(self) -> Option<Percent> {
        match self {
            Self::Consecutive { .. } | Self::Count { .. } => None,
            Self::RatePeriod { rate, .. } | Self::RateCalls { rate, .. } => Some(rate),
        }
    }

    /// `min` if the token names none. Trips without a rate are judged from the first call on.
    pub(super) fn default_min(self) -> u32 {
        match self {
            Self::Consecutive { .. } | Self::Count { .. } => 1,
            Self::RatePeriod { .. } => 20,
            Self::RateCalls { calls, .. } => calls.into(),
        }
    }
}

/// The rule of a breaker: when a circuit opens, for how long, and how it closes again. It is
/// written as one token, see [`Breaker::parse`]. Fields that end in `_us` are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Breaker {
    pub(super) trip: Trip,
    pub(super) min: u32,
    pub(super) slow_us: Option<u64>,
    pub(super) slowrate: Percent,
    pub(super) open_us: u64,
    pub(super) backoff: Hundredths,
    pub(super) maxopen_us: u64,
    pub(super) probes: u8,
    pub(super) lease_us: u64,
    pub(super) ramp_us: u64,
    pub(super) idle_us: u64,
    pub(super) reporters: u8,
}

impl Breaker {
    /// A breaker with this trip, and every option at its default.
    pub(super) fn with_defaults(trip: Trip) -> Self {
        Self {
            trip,
            min: trip.default_min(),
            slow_us: None,
            slowrate: Percent::ALL,
            open_us: MINUTE,
            backoff: Hundredths::ONE,
            maxopen_us: HOUR,
            probes: 1,
            lease_us: MINUTE,
            ramp_us: 0,
            idle_us: DAY,
            reporters: 1,
        }
    }

    /// The condition that opens a closed circuit.
    pub const fn trip(&self) -> Trip {
        self.trip
    }

    /// The number of calls in the window from which on rates are judged.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// The duration in microseconds above which a call is slow; `None` if no call is.
    pub const fn slow_us(&self) -> Option<u64> {
        self.slow_us
    }

    /// The rate of slow calls that opens a circuit, if `slow` is given.
    pub const fn slowrate(&self) -> Percent {
        self.slowrate
    }

    /// The number of different reporters from which the failures, or the slow calls, must come to
    /// open a circuit.
    pub const fn reporters(&self) -> u8 {
        self.reporters
    }

    /// False if the window never holds as many calls as a trip needs different reporters.
    pub fn can_open(&self) -> bool {
        match self.trip {
            Trip::RateCalls { calls, .. } => u16::from(self.reporters) <= calls,
            Trip::Consecutive { .. } | Trip::Count { .. } | Trip::RatePeriod { .. } => true,
        }
    }

    /// True if both open at the same results: the trip, `min`, `slowrate` and `reporters` are the
    /// same. `slow` does not matter, because a result is classified when it comes in.
    pub fn judges_like(&self, other: &Self) -> bool {
        let slowrate = |breaker: &Self| breaker.slow_us.map(|_| breaker.slowrate);
        self.trip == other.trip
            && self.min == other.min
            && slowrate(self) == slowrate(other)
            && self.reporters == other.reporters
    }

    /// The length of the first opening in microseconds.
    pub const fn open_us(&self) -> u64 {
        self.open_us
    }

    /// The factor by which each opening in a row lasts longer.
    pub const fn backoff(&self) -> Hundredths {
        self.backoff
    }

    /// The length of the longest opening in microseconds.
    pub const fn maxopen_us(&self) -> u64 {
        self.maxopen_us
    }

    /// The number of trial calls in a half-open round.
    pub const fn probes(&self) -> u8 {
        self.probes
    }

    /// The time in microseconds within which a trial must be reported. After it the trial is lost.
    pub const fn lease_us(&self) -> u64 {
        self.lease_us
    }

    /// The time in microseconds that a circuit that closed takes until it admits every call again.
    pub const fn ramp_us(&self) -> u64 {
        self.ramp_us
    }

    /// The time in microseconds after its last result at which a circuit is forgotten.
    pub const fn idle_us(&self) -> u64 {
        self.idle_us
    }

    /// True if a call of this duration in microseconds was slow.
    pub fn is_slow(&self, duration_us: Option<u64>) -> bool {
        matches!((duration_us, self.slow_us), (Some(took), Some(limit)) if took > limit)
    }

    /// The length in microseconds of the `openings`-th opening in a row (the first is 1). It is
    /// `open`, multiplied by `backoff` for each opening before, rounded down to the microsecond
    /// each time, up to `maxopen`.
    ///
    /// The loop ends early. With a back-off above 1 it reaches the cap within some thousand steps
    /// (1 ms × 1.01ⁿ = 366 days). With a back-off of 1 nothing grows.
    pub fn open_time_us(&self, openings: u32) -> u64 {
        let mut us = self.open_us.min(self.maxopen_us);
        for _ in 1..openings {
            if self.backoff <= Hundredths::ONE || us >= self.maxopen_us {
                break;
            }
            us = self.backoff.times(us).min(self.maxopen_us);
        }
        us
    }
}
