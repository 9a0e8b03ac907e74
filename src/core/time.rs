//! A point in time as the server tells it.

/// Microseconds since the Unix epoch.
///
/// Arithmetic saturates: no input can make it wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The latest time that this crate accepts from outside (clock or
    /// payload): the year 2112. Leaves head-room so that adding any period
    /// cannot overflow packed encodings.
    pub const MAX: Self = Self((1 << Self::BITS) - 1);

    /// What never comes: later than every time of a clock, and than every sum of such.
    pub const NEVER: Self = Self(u64::MAX);

    /// The bits of [`Micros::MAX`].
    pub const BITS: u32 = 52;

    /// This time plus `us` microseconds.
    #[must_use]
    pub const fn plus(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// This time less `us` microseconds, not before the epoch.
    #[must_use]
    pub const fn minus(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }

    /// Microseconds from `earlier` to here; 0 when `earlier` is later.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    ///
    /// assert_eq!(Micros(5_000).since(Micros(2_000)), 3_000);
    /// // A later time is no time ago.
    /// assert_eq!(Micros(2_000).since(Micros(5_000)), 0);
    /// ```
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds since the epoch, rounded up: a key that expires then
    /// never expires early.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    ///
    /// // A key that expires at a millisecond must not expire too early.
    /// assert_eq!(Micros(1_001).ceil_millis(), 2);
    /// ```
    pub const fn ceil_millis(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// Milliseconds from `now` until here, rounded up; 0 when it has passed.
    pub const fn millis_after(self, now: Self) -> u64 {
        self.since(now).div_ceil(1000)
    }
}
