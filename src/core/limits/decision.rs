//! What is decided on a request, by the position of each limit.

use super::limit::Limit;
use super::limit_set::MAX_LIMITS;
use super::state::State;
use crate::core::retry_after::RetryAfter;
use crate::core::time::Micros;

/// Units for each limit, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken([u64; MAX_LIMITS]);

impl Taken {
    /// Units by position. Those beyond the eighth are dropped.
    ///
    /// ```
    /// use floodgate::core::limits::Taken;
    ///
    /// let taken = Taken::new([3, 1]);
    /// assert_eq!((taken.units(0), taken.units(1), taken.units(2)), (3, 1, 0));
    /// ```
    pub fn new(units: impl IntoIterator<Item = u64>) -> Self {
        let mut taken = Self::default();
        taken.0.iter_mut().zip(units).for_each(|(slot, units)| *slot = units);
        taken
    }

    /// The units of the limit at `index`; 0 beyond the eighth.
    #[inline]
    pub fn units(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// The units of all eight positions.
    pub const fn as_array(&self) -> &[u64; MAX_LIMITS] {
        &self.0
    }

    /// True if nothing is taken from any limit.
    pub fn is_nothing(&self) -> bool {
        self.0.iter().all(|&units| units == 0)
    }

    #[inline]
    pub(super) fn set(&mut self, index: usize, units: u64) {
        if let Some(slot) = self.0.get_mut(index) {
            *slot = units;
        }
    }
}

/// A set of limits, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitMask(u8);

impl FromIterator<usize> for LimitMask {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut set = Self::default();
        positions.into_iter().for_each(|index| set.insert(index));
        set
    }
}

impl LimitMask {
    /// One bit for each position.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The inverse of [`LimitMask::bits`].
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// True if the limit at `index` is in the set.
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_LIMITS && self.0 >> index & 1 == 1
    }

    /// True if the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of limits in the set.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The positions in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_LIMITS).filter(move |&index| self.contains(index))
    }

    #[inline]
    pub(super) const fn insert(&mut self, index: usize) {
        if index < MAX_LIMITS {
            self.0 |= 1 << index;
        }
    }
}

/// The time until a limit is full again if nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetAfter {
    /// The limit is full in this many microseconds; 0 if it is full now.
    Us(u64),
    /// The units of the limit never come back by themselves. It does not matter whether any are in
    /// use.
    Never,
}

impl ResetAfter {
    /// The limit is full.
    pub const NOW: Self = Self::Us(0);

    /// The time until a limit is full again, if `taken` units are taken now and nobody asks
    /// afterwards.
    #[inline]
    pub(super) fn of(limit: &Limit, state: &State, now: Micros, taken: u64) -> Self {
        if limit.rule().comes_back() {
            Self::Us(limit.rule().full_after(state, now, taken).since(now))
        } else {
            Self::Never
        }
    }

    /// The time in microseconds; `None` for never.
    pub const fn micros(self) -> Option<u64> {
        match self {
            Self::Us(us) => Some(us),
            Self::Never => None,
        }
    }

    /// The moment at which the limit is full, seen at `now`; `None` for never.
    pub fn moment(self, now: Micros) -> Option<Micros> {
        self.micros().map(|us| now.plus(us))
    }

    /// The same time, but at least `us` microseconds.
    #[must_use]
    pub fn at_least(self, us: u64) -> Self {
        match self {
            Self::Us(own) => Self::Us(own.max(us)),
            Self::Never => Self::Never,
        }
    }

    /// The time as replies show it: milliseconds, rounded up; -1 for never.
    ///
    /// ```
    /// use floodgate::core::limits::ResetAfter;
    ///
    /// assert_eq!(ResetAfter::Us(1_001).millis(), 2);
    /// assert_eq!(ResetAfter::Never.millis(), -1);
    /// ```
    pub fn millis(self) -> i64 {
        self.micros().map_or(-1, |us| i64::try_from(us.div_ceil(1000)).unwrap_or(i64::MAX))
    }
}

/// The status of the binding limit after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// The capacity of the limit; `None` for unlimited.
    pub limit: Option<u64>,
    /// The whole units that a requester of the same kind could still take from it; `None` for
    /// unlimited.
    pub remaining: Option<u64>,
    /// The time until the same request would be granted; for a [`Request::partial`](super::Request::partial), until one unit
    /// would.
    pub retry: RetryAfter,
    /// The time until the limit is full again if nobody asks.
    pub reset: ResetAfter,
}

impl LimitStatus {
    /// The status of an unlimited limit.
    pub const UNLIMITED: Self =
        Self { limit: None, remaining: None, retry: RetryAfter::Now, reset: ResetAfter::NOW };
}

/// A decision. To carry a decision out, call [`take`](super::take) with `taken`. If `taken` is
/// nothing and `record_clock` is set, call [`touch`](super::touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The units granted; 0 if the request is denied.
    pub granted: u64,
    /// The status of the binding limit after the call.
    pub status: LimitStatus,
    /// The position of the binding limit; `None` if all are shadow limits.
    pub binding: Option<usize>,
    /// The units that each limit is charged.
    pub taken: Taken,
    /// The shadow limits that would have denied the request.
    pub shadow_denied: LimitMask,
    /// The limits that this denial closes ([`blocks`](super::blocks)), unless the request waits.
    pub closes: LimitMask,
    /// True if the clock stepped back and that must be recorded, even if the request is denied.
    pub record_clock: bool,
}

impl Decision {
    /// False if the request was denied.
    pub const fn is_granted(&self) -> bool {
        self.granted > 0
    }

    /// The status of the binding limit if nothing is taken after all. `limits` and `states` are
    /// those of the decision.
    pub fn before(&self, limits: &[Limit], states: &[State], now: Micros) -> LimitStatus {
        let mut status = self.status;
        if self.is_granted()
            && let Some(index) = self.binding
            && let Some((limit, state)) = limits.get(index).zip(states.get(index))
        {
            let taken = self.taken.units(index);
            status.remaining = status.remaining.map(|left| left.saturating_add(taken));
            status.reset = ResetAfter::of(limit, state, now, 0);
        }
        status
    }
}
