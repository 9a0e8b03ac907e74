//! Points in time.

/// A point in time, in microseconds since the Unix epoch.
///
/// Arithmetic saturates: no input can make it wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The latest time that is accepted from outside (clock or payload). It is in the year 2112.
    /// Adding any period to it cannot overflow the packed encodings.
    pub const MAX: Self = Self((1 << Self::BITS) - 1);

    /// A moment that never comes. It is later than every time of a clock, and than every sum of
    /// such times and periods.
    pub const NEVER: Self = Self(u64::MAX);

    /// The number of bits of [`Micros::MAX`].
    pub const BITS: u32 = 52;

    /// Returns the time plus `us` microseconds.
    #[must_use]
    pub const fn plus(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Returns the time less `us` microseconds, but not before the epoch.
    #[must_use]
    pub const fn minus(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }

    /// The microseconds from `earlier` to this time; 0 if `earlier` is later.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    ///
    /// assert_eq!(Micros(5_000).since(Micros(2_000)), 3_000);
    /// // Nothing has passed since a later time.
    /// assert_eq!(Micros(2_000).since(Micros(5_000)), 0);
    /// ```
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// Whole milliseconds since the epoch, rounded up, so that a key that expires then never
    /// expires early.
    ///
    /// ```
    /// use floodgate::core::time::Micros;
    ///
    /// assert_eq!(Micros(1_001).ceil_millis(), 2);
    /// ```
    pub const fn ceil_millis(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// The milliseconds from `now` to this time, rounded up; 0 if it has passed.
    pub const fn millis_after(self, now: Self) -> u64 {
        self.since(now).div_ceil(1000)
    }
}
