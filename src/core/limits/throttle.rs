//! `CL.THROTTLE` as redis-cell 0.5 counts, and `GCRA`, which is the same with a period in fractions
//! of a second.
//!
//! It is the generic cell rate algorithm in nanoseconds, with the roundings of redis-cell, for
//! every input on which redis-cell itself does not wrap or abort. As a limit it is a bucket of
//! `max_burst + 1`.
//!
//! The state is the theoretical arrival time (TAT) and the time of the last change. The latter
//! distinguishes a clock that stepped back from a long debt: after such a step, the wait that was
//! left at the last change is left now.

use super::algorithm::Algorithm;
use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;
use crate::core::text::decimal;
use crate::core::text::duration::whole_number;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};
use std::fmt;

/// Nanoseconds in a second.
const SECOND_NS: u128 = 1_000_000_000;
/// Nanoseconds in a microsecond.
const MICRO_NS: u128 = 1_000;
/// The largest value of the arguments: that of a signed 64-bit integer.
const MOST: u64 = i64::MAX as u64;
/// The number of decimals of a period that are kept, down to nanoseconds.
const DECIMALS: usize = 9;
/// The longest period in nanoseconds.
const MOST_NS: i128 = i64::MAX as i128 * 1_000_000_000;
/// No arrival time reaches this, so sums stay within 128 bits.
const MAX_TAT: u128 = (1 << 127) - 1;

/// The reason for which arguments make no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThrottleError {
    /// `max_burst` is below 0.
    #[error("max_burst must not be negative")]
    Burst,
    /// `count_per_period` is below 1.
    #[error("count_per_period must be at least 1")]
    Count,
    /// `period` is below 1.
    #[error("period must be at least 1 second")]
    Period,
    /// The rate is more than one unit a nanosecond.
    #[error("rate is above one unit a nanosecond")]
    TooFast,
}

/// The period of a [`Throttle`]: a number of seconds above 0, with up to nine decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottlePeriod {
    seconds: u64,
    nanos: u32,
}

impl ThrottlePeriod {
    /// A period of this many seconds; `None` if that is not above 0.
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        Some(Self { seconds: u64::try_from(seconds).ok().filter(|&seconds| seconds > 0)?, nanos: 0 })
    }

    /// Parses a decimal number of seconds, rounded to nanoseconds. `None` if that is not above 0,
    /// or is more seconds than a signed 64-bit integer counts.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let ns = decimal::parse(text, DECIMALS, MOST_NS).ok().and_then(|ns| u128::try_from(ns).ok())?;
        let part = |n: u128| u64::try_from(n).ok();
        let (seconds, nanos) = (part(ns / SECOND_NS)?, u32::try_from(ns % SECOND_NS).ok()?);
        (ns > 0).then_some(Self { seconds, nanos })
    }

    fn ns(self) -> u128 {
        u128::from(self.seconds) * SECOND_NS + u128::from(self.nanos)
    }
}

impl fmt::Display for ThrottlePeriod {
    /// Writes the seconds with no more decimals than needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write(f, self.seconds, self.nanos.into(), DECIMALS)
    }
}

/// How lengths of time are rounded to the whole seconds of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondsRounding {
    /// Up, after dropping what is less than a millisecond, as redis-cell does.
    Cell,
    /// Always up.
    Up,
}

impl SecondsRounding {
    fn seconds(self, ns: u128) -> i64 {
        let least = match self {
            Self::Cell => 1_000_000,
            Self::Up => 1,
        };
        clamp(ns / SECOND_NS + u128::from(ns % SECOND_NS >= least))
    }
}

/// The arguments of `CL.THROTTLE` without the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    max_burst: u64,
    count: u64,
    period: ThrottlePeriod,
    /// The nanoseconds for one unit, 1 to `i64::MAX`.
    interval: u64,
}

/// The arrival time of the next unit beyond the burst, in nanoseconds since the epoch, and the time
/// at which it was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    high: u64,
    low: u64,
    /// The time of the last change.
    changed: Micros,
}

impl Arrival {
    /// Takes over an arrival time in nanoseconds, such as the value of a key that redis-cell left.
    /// One that has passed counts as none.
    pub fn adopt(tat_ns: u64, now: Micros) -> Self {
        if u128::from(tat_ns) <= nanos(now) { Self::default() } else { Self::new(u128::from(tat_ns), now) }
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    fn new(tat: u128, changed: Micros) -> Self {
        let tat = tat.min(MAX_TAT);
        Self { high: (tat >> 64) as u64, low: tat as u64, changed }
    }

    fn tat(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    /// The nanoseconds until the arrival time.
    fn wait(&self, now: Micros) -> u128 {
        self.tat().saturating_sub(nanos(now.max(self.changed)))
    }

    fn from_wait(wait: u128, now: Micros) -> Self {
        if wait == 0 { Self::default() } else { Self::new(nanos(now).saturating_add(wait), now) }
    }
}

/// The five numbers of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleReply {
    /// True if the request is denied. Nothing is to be taken then.
    pub limited: bool,
    /// The capacity: `max_burst + 1`.
    pub limit: i64,
    /// The units that are left.
    pub remaining: i64,
    /// Seconds until the request fits; -1 if it is granted, or if it never fits.
    pub retry_after_s: i64,
    /// Seconds until the limit is full.
    pub reset_after_s: i64,
}

impl Throttle {
    /// Checks the arguments of `CL.THROTTLE`.
    ///
    /// # Errors
    /// [`ThrottleError`] if they make no rate.
    pub fn new(max_burst: i64, count: i64, period_s: i64) -> Result<Self, ThrottleError> {
        Self::over(max_burst, count, ThrottlePeriod::of_seconds(period_s).ok_or(ThrottleError::Period)?)
    }

    /// A rate of `count` units in a period of any length.
    ///
    /// # Errors
    /// [`ThrottleError`] if the arguments make no rate.
    pub fn over(max_burst: i64, count: i64, period: ThrottlePeriod) -> Result<Self, ThrottleError> {
        let max_burst = u64::try_from(max_burst).map_err(|_| ThrottleError::Burst)?;
        let count = u64::try_from(count).ok().filter(|&n| n > 0).ok_or(ThrottleError::Count)?;
        let interval = period.ns() / u128::from(count);
        // Beyond 292 years redis-cell wraps. Here the interval stays at 292 years.
        match u64::try_from(interval).unwrap_or(MOST).min(MOST) {
            0 => Err(ThrottleError::TooFast),
            interval => Ok(Self { max_burst, count, period, interval }),
        }
    }

    /// Decides as redis-cell does, and returns what it would reply. Changes nothing: if the request
    /// is granted and the quantity is not 0, [`take`](super::take) the quantity.
    pub fn ask(
        &self,
        arrival: &Arrival,
        now: Micros,
        quantity: u64,
        rounding: SecondsRounding,
    ) -> ThrottleReply {
        let wait = arrival.wait(now);
        let variation = self.length(self.max_burst + 1);
        let increment = self.length(quantity);
        let new_wait = wait.saturating_add(increment);
        let limited = new_wait > variation;
        let reset = if limited { wait } else { new_wait };
        ThrottleReply {
            limited,
            limit: clamp(u128::from(self.max_burst) + 1),
            remaining: self.remaining(variation, reset),
            // A client that is denied and told 0 seconds would ask again at once, in vain.
            retry_after_s: if limited && increment <= variation {
                rounding.seconds(new_wait - variation).max(1)
            } else {
                -1
            },
            reset_after_s: rounding.seconds(reset),
        }
    }

    /// The whole units that are left. redis-cell divides whole microseconds by whole microseconds,
    /// and so reports more than there is (24 of 6001 too many at 6000 a second). Here nanoseconds
    /// are divided.
    fn remaining(&self, variation: u128, wait: u128) -> i64 {
        clamp(variation.saturating_sub(wait) / u128::from(self.interval.max(1)))
    }

    fn length(&self, units: u64) -> u128 {
        u128::from(self.interval) * u128::from(units)
    }
}

fn nanos(now: Micros) -> u128 {
    u128::from(now.0) * MICRO_NS
}

/// The moment at which `wait` nanoseconds have passed, at most 292 000 years ahead.
fn after(wait: u128, now: Micros) -> Micros {
    now.plus(u64::try_from(wait.div_ceil(MICRO_NS)).unwrap_or(u64::MAX).min(u64::MAX / 2))
}

fn clamp(n: u128) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Algorithm for Throttle {
    type State = Arrival;
    const NAME: &'static str = "throttle";
    const PUBLIC: bool = false;
    const CLOSES: bool = false;

    /// Parses `max_burst/count/seconds`.
    fn parse(quantity: &[u8], _options: &LimitOptions<'_>) -> Result<Self, Reason> {
        let number = |text: &[u8]| whole_number(text).and_then(|n| i64::try_from(n).ok());
        let mut parts = quantity.split(|&b| b == b'/');
        let (burst, count) = (parts.next().and_then(number), parts.next().and_then(number));
        match (burst, count, parts.next().and_then(ThrottlePeriod::parse), parts.next()) {
            (Some(burst), Some(count), Some(period), None) => {
                Self::over(burst, count, period).map_err(|why| why.to_string().into())
            }
            _ => Err("throttle needs max_burst/count/seconds".into()),
        }
    }

    fn head(&self) -> String {
        format!("throttle:{}/{}/{}", self.max_burst, self.count, self.period)
    }

    fn same_usage(&self, _other: &Self) -> bool {
        true
    }

    fn period_us(&self) -> Option<u64> {
        Some(u64::try_from(self.period.ns().div_ceil(MICRO_NS)).unwrap_or(u64::MAX))
    }

    fn refill_us(&self) -> Option<u64> {
        let all = self.length(self.max_burst.saturating_add(1)).div_ceil(MICRO_NS);
        Some(u64::try_from(all).unwrap_or(u64::MAX))
    }

    fn capacity(&self) -> u64 {
        self.max_burst + 1
    }

    fn is_fresh(arrival: &Arrival) -> bool {
        arrival.tat() == 0
    }

    fn used(&self, arrival: &Arrival, now: Micros) -> u64 {
        u64::try_from(arrival.wait(now).div_ceil(u128::from(self.interval))).unwrap_or(u64::MAX)
    }

    fn falls_to(&self, arrival: &Arrival, now: Micros, target: u64) -> Micros {
        let wait = arrival.wait(now).saturating_sub(self.length(target));
        after(wait, now)
    }

    fn full_after(&self, arrival: &Arrival, now: Micros, taken: u64) -> Micros {
        let wait = arrival.wait(now).saturating_add(self.length(taken));
        after(wait, now)
    }

    fn stepped_back(&self, arrival: &Arrival, now: Micros) -> bool {
        now < arrival.changed
    }

    fn not_before(&self, arrival: &Arrival) -> Micros {
        arrival.changed
    }

    fn take(&self, arrival: &mut Arrival, now: Micros, units: u64) {
        *arrival = Arrival::from_wait(arrival.wait(now).saturating_add(self.length(units)), now);
    }

    fn give_back(&self, arrival: &mut Arrival, now: Micros, above: u64, units: u64) -> u64 {
        let wait = arrival.wait(now);
        let beneath = wait.saturating_sub(self.length(above));
        *arrival = Arrival::from_wait(wait - beneath.min(self.length(units)), now);
        units.min(u64::try_from(beneath.div_ceil(u128::from(self.interval))).unwrap_or(u64::MAX))
    }

    /// redis-cell keeps the arrival time, whatever the next arguments are.
    fn carry(&self, _old: &Self, _arrival: &mut Arrival, _now: Micros) {}

    fn write(arrival: &Arrival, out: &mut Vec<u8>) {
        put_u128(out, arrival.tat());
        put_u64(out, arrival.changed.0);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Arrival, Corrupt> {
        let tat = reader.u128()?;
        let changed = Micros(reader.u64_to(Micros::MAX.0)?);
        if tat > MAX_TAT || tat <= nanos(changed) {
            return Err(Corrupt("arrival time out of range"));
        }
        Ok(Arrival::new(tat, changed))
    }
}
