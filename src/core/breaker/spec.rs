//! The rule of a circuit breaker. Its fields are private and only
//! [`Breaker::parse`] makes one, so an impossible breaker does not exist.

use crate::core::text::duration::{DAY, HOUR, MINUTE};

/// The most failures that a trip by count, and the most calls that `min`, may
/// name.
pub const MAX_COUNT: u32 = 1_000_000;
/// The most calls that `P%/Ncalls` may look back on.
pub const MAX_CALLS: u16 = 1_000;
/// The most different reporters that a trip may ask for.
pub const MAX_REPORTERS: u8 = 8;
/// The most trial calls of one half-open round.
pub const MAX_PROBES: u8 = 100;

/// A share in hundredths of a percent: 1 ..= 10 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate(u16);

impl Rate {
    /// 100%.
    pub const ALL: Self = Self(10_000);

    /// From hundredths of a percent; `None` when 0 or above 100%.
    pub fn new(hundredths: u64) -> Option<Self> {
        u16::try_from(hundredths).ok().filter(|h| (1..=10_000).contains(h)).map(Self)
    }

    /// In hundredths of a percent.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Whether `part` of `whole` is at least this share. Exact: no division.
    ///
    /// ```
    /// use floodgate::core::breaker::Rate;
    ///
    /// let half = Rate::new(5_000).unwrap();
    /// assert!(half.reached(1, 2)); // at the rate, not only above it
    /// assert!(!half.reached(1, 3));
    /// ```
    pub fn reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 >= u128::from(self.0) * u128::from(whole)
    }
}

/// What opens a closed circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trip {
    /// `N`: this many failures in a row.
    Consecutive {
        /// 1 ..= [`MAX_COUNT`].
        failures: u32,
    },
    /// `N/period`: this many failures within a sliding period.
    Count {
        /// 1 ..= [`MAX_COUNT`].
        failures: u32,
        /// Length of the period in microseconds.
        period_us: u64,
    },
    /// `P%/period`: this failure rate over a sliding period.
    RatePeriod {
        /// The rate that trips.
        rate: Rate,
        /// Length of the period in microseconds.
        period_us: u64,
    },
    /// `P%/Ncalls`: this failure rate over the last calls.
    RateCalls {
        /// The rate that trips.
        rate: Rate,
        /// 1 ..= [`MAX_CALLS`].
        calls: u16,
    },
}

impl Trip {
    /// The failure rate of the two trips that have one.
    pub const fn rate(self) -> Option<Rate> {
        match self {
            Self::Consecutive { .. } | Self::Count { .. } => None,
            Self::RatePeriod { rate, .. } | Self::RateCalls { rate, .. } => Some(rate),
        }
    }

    /// `min` where the token names none. Trips without a rate hold from the
    /// first call on.
    pub(super) fn default_min(self) -> u32 {
        match self {
            Self::Consecutive { .. } | Self::Count { .. } => 1,
            Self::RatePeriod { .. } => 20,
            Self::RateCalls { calls, .. } => calls.into(),
        }
    }
}

/// When a circuit opens, for how long, and how it closes again: one token, see
/// [`Breaker::parse`]. Lengths of time are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Breaker {
    pub(super) trip: Trip,
    pub(super) min: u32,
    pub(super) slow_us: Option<u64>,
    pub(super) slowrate: Rate,
    pub(super) open_us: u64,
    pub(super) backoff: u32,
    pub(super) maxopen_us: u64,
    pub(super) probes: u8,
    pub(super) lease_us: u64,
    pub(super) ramp_us: u64,
    pub(super) idle_us: u64,
    pub(super) reporters: u8,
}

impl Breaker {
    /// `trip` with every option at its default.
    pub(super) fn with_defaults(trip: Trip) -> Self {
        Self {
            trip,
            min: trip.default_min(),
            slow_us: None,
            slowrate: Rate::ALL,
            open_us: MINUTE,
            backoff: 100,
            maxopen_us: HOUR,
            probes: 1,
            lease_us: MINUTE,
            ramp_us: 0,
            idle_us: DAY,
            reporters: 1,
        }
    }

    /// What opens a closed circuit.
    pub const fn trip(&self) -> Trip {
        self.trip
    }

    /// Rates hold from this many calls on, inclusive.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// A call that took longer than this is slow.
    pub const fn slow_us(&self) -> Option<u64> {
        self.slow_us
    }

    /// The rate of slow calls that trips, where `slow` is given.
    pub const fn slowrate(&self) -> Rate {
        self.slowrate
    }

    /// From so many different reporters the failures, or the slow calls, must be that
    /// trip.
    pub const fn reporters(&self) -> u8 {
        self.reporters
    }

    /// Whether both open at the same results: the trip, `min`, `slowrate` and
    /// `reporters` are the same. What is slow was decided when a result came in.
    pub fn judges_like(&self, other: &Self) -> bool {
        let slowrate = |breaker: &Self| breaker.slow_us.map(|_| breaker.slowrate);
        self.trip == other.trip
            && self.min == other.min
            && slowrate(self) == slowrate(other)
            && self.reporters == other.reporters
    }

    /// How long the first opening lasts.
    pub const fn open_us(&self) -> u64 {
        self.open_us
    }

    /// How many times longer each opening in a row lasts, in hundredths.
    pub const fn backoff_hundredths(&self) -> u32 {
        self.backoff
    }

    /// The longest that an opening lasts.
    pub const fn maxopen_us(&self) -> u64 {
        self.maxopen_us
    }

    /// Trial calls of a half-open round.
    pub const fn probes(&self) -> u8 {
        self.probes
    }

    /// A trial not reported within this is lost.
    pub const fn lease_us(&self) -> u64 {
        self.lease_us
    }

    /// How long a circuit that closed takes to admit every call again.
    pub const fn ramp_us(&self) -> u64 {
        self.ramp_us
    }

    /// A circuit is forgotten this long after its last result.
    pub const fn idle_us(&self) -> u64 {
        self.idle_us
    }

    /// Whether a call of this duration was slow.
    pub fn is_slow(&self, duration_us: Option<u64>) -> bool {
        matches!((duration_us, self.slow_us), (Some(took), Some(limit)) if took > limit)
    }

    /// How long the `openings`-th opening in a row lasts (the first is 1):
    /// `open` × `backoff` for each one before, rounded down to the microsecond
    /// each time, up to `maxopen`.
    ///
    /// The loop ends early: above a back-off of 1 the cap is reached within
    /// some thousand steps (1 ms × 1.01ⁿ = 366 days), and at 1 nothing grows.
    pub fn open_time_us(&self, openings: u32) -> u64 {
        let mut us = self.open_us.min(self.maxopen_us);
        for _ in 1..openings {
            if self.backoff <= 100 || us >= self.maxopen_us {
                break;
            }
            us = (us.saturating_mul(self.backoff.into()) / 100).min(self.maxopen_us);
        }
        us
    }
}
