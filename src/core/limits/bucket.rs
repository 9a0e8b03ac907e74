//! Token bucket: it starts with `burst` units and refills `count` in `period`, continuously. All
//! numbers are integers, so nothing drifts.
//!
//! The state is the moment at which the bucket is full again (the "theoretical arrival time" of the
//! generic cell rate algorithm). It lies on a fast time line, which runs `count` times as fast as
//! the clock: at `now` it stands at `now * count`, and one unit is `period` long on it. The units
//! missing from a full bucket are `full - now * count` in this measure, which does not depend on
//! the count.
//!
//! **A clock that stepped back** shows as a bucket from which more is missing than it holds. It
//! counts as just empty. More can also be missing rightly, after debt or after the burst became
//! smaller. The ceiling records how much.
//!
//! **A count of 0.** Such a bucket holds nothing, so nothing is ever missing from it. It takes over no
//! usage: what is missing from a bucket of another count comes back at the rate of that count.

use super::algorithm::{Algorithm, MAX_UNITS};
use super::layer::Layer;
use super::options::option_number;
use super::quantity::{self, Rate, Reason};
use crate::core::limits::options::LimitOptions;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64, put_u128};

/// `bucket:count/period:burst=n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    count: u64,
    /// The length of the period in microseconds.
    period: u64,
    burst: u64,
}

/// The moment at which a bucket is full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// The moment on the fast time line, in two words because a `u128` would need an alignment of
    /// 16 bytes.
    high: u64,
    low: u64,
    /// The number of units that may rightly be missing, if it is more than the bucket holds; else
    /// 0.
    ceiling: u64,
}

impl Level {
    /// [`Level::bits`] is below 2 to this power: 2^52 microseconds, with room for two buckets of
    /// debt, times the largest count.
    pub const BITS: u32 = 92;

    const MAX: u128 = (1 << Self::BITS) - 1;

    /// The whole state as one number below 2^92, never 0. `None` for a bucket with a ceiling, whose
    /// state is larger.
    pub fn bits(&self) -> Option<u128> {
        (self.ceiling == 0).then_some(self.full())
    }

    /// The inverse of [`Level::bits`]. Larger numbers are clamped.
    pub fn from_bits(bits: u128) -> Self {
        Self::new(bits, 0)
    }

    #[allow(clippy::cast_possible_truncation)] // the two halves
    fn new(full: u128, ceiling: u64) -> Self {
        let full = full.min(Self::MAX);
        Self { high: (full >> 64) as u64, low: full as u64, ceiling }
    }

    #[inline]
    fn full(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// The longest time that is distinguished: 292 000 years in microseconds. Adding a time of the
/// clock to it cannot overflow.
const FAR: u64 = u64::MAX / 2;

/// `n / by` rounded up. Uses the fast 64-bit instruction if the numbers allow.
#[inline]
fn div_ceil(n: u128, by: u64) -> u64 {
    match u64::try_from(n) {
        Ok(n) => n.div_ceil(by.max(1)),
        Err(_) => u64::try_from(n.div_ceil(u128::from(by.max(1)))).unwrap_or(u64::MAX),
    }
}

impl Bucket {
    /// The place of `now` on the fast time line.
    #[inline]
    fn line(&self, now: Micros) -> u128 {
        u128::from(now.0) * u128::from(self.count)
    }

    /// The length of `units` on the fast time line.
    #[inline]
    fn length(&self, units: u64) -> u128 {
        u128::from(units) * u128::from(self.period)
    }

    /// The greatest length that can rightly be missing.
    #[inline]
    fn most_missing(&self, level: &Level) -> u128 {
        self.length(self.burst.max(level.ceiling))
    }

    /// The length that is missing from a full bucket at `now`, on the fast time line.
    #[inline]
    fn missing(&self, level: &Level, now: Micros) -> u128 {
        // Version 0.1 kept usage under a count of 0.
        if self.count == 0 {
            return 0;
        }
        level.full().saturating_sub(self.line(now)).min(self.most_missing(level))
    }

    /// The greatest length that is missing after a charge: two buckets.
    fn most_owed(&self) -> u128 {
        self.length(self.burst).saturating_mul(2)
    }

    /// The state in which `missing` is missing at `now`.
    #[inline]
    fn level(&self, missing: u128, now: Micros) -> Level {
        if missing == 0 || self.count == 0 {
            return Level::default();
        }
        let ceiling = if missing > self.length(self.burst) { div_ceil(missing, self.period) } else { 0 };
        Level::new(self.line(now).saturating_add(missing), ceiling.min(MAX_UNITS))
    }

    /// The moment at which `missing` has come back.
    #[inline]
    fn after(&self, missing: u128, now: Micros) -> Micros {
        now.plus(div_ceil(missing, self.count).min(FAR))
    }
}

impl Algorithm for Bucket {
    type State = Level;
    const NAME: &'static str = "bucket";
    const OPTIONS: &'static [&'static str] = &["burst"];

    fn parse(quantity: &[u8], options: &LimitOptions<'_>) -> Result<Self, Reason> {
        let Rate { count, period } = quantity::parse_rate(quantity)?;
        let burst = option_number(options, "burst")?;
        if count == 0 && burst.is_some() {
            return Err("burst= needs a count of 1 or more".into());
        }
        let burst = burst.unwrap_or(count);
        Ok(Self { count, period, burst })
    }

    fn head(&self) -> String {
        format!("bucket:{}/{}", self.count, quantity::period_text(self.period))
    }

    fn tail(&self) -> String {
        if self.burst == self.count { String::new() } else { format!(":burst={}", self.burst) }
    }

    fn same_usage(&self, other: &Self) -> bool {
        self.period == other.period
    }

    fn keeps_usage(&self) -> bool {
        self.count > 0
    }

    fn period_us(&self) -> Option<u64> {
        Some(self.period)
    }

    fn refill_us(&self) -> Option<u64> {
        // A bucket that never refills is shown with its period.
        Some(if self.count == 0 { self.period } else { div_ceil(self.length(self.burst), self.count) })
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.burst
    }

    #[inline]
    fn is_fresh(level: &Level) -> bool {
        level.full() == 0
    }

    /// Whole units. One that has come back only in part counts as used.
    #[inline]
    fn used(&self, level: &Level, now: Micros) -> u64 {
        div_ceil(self.missing(level, now), self.period)
    }

    fn falls_to(&self, level: &Level, now: Micros, target: u64) -> Micros {
        self.after(self.missing(level, now).saturating_sub(self.length(target)), now)
    }

    #[inline]
    fn full_after(&self, level: &Level, now: Micros, taken: u64) -> Micros {
        self.after(self.missing(level, now).saturating_add(self.length(taken)), now)
    }

    #[inline]
    fn stepped_back(&self, level: &Level, now: Micros) -> bool {
        self.count > 0 && level.full() > self.line(now).saturating_add(self.most_missing(level))
    }

    fn not_before(&self, level: &Level) -> Micros {
        Micros(div_ceil(level.full().saturating_sub(self.most_missing(level)), self.count))
    }

    #[inline]
    fn take(&self, level: &mut Level, now: Micros, units: u64) {
        let missing = self.missing(level, now).saturating_add(self.length(units.min(MAX_UNITS)));
        *level = self.level(missing, now);
    }

    /// A unit that has come back in part leaves room for a part, so that debt is cut to the length of
    /// one bucket and not to whole units.
    fn chargeable(&self, level: &Level, now: Micros, units: u64) -> u64 {
        units.min(div_ceil(self.most_owed().saturating_sub(self.missing(level, now)), self.period))
    }

    fn make_room(&self, level: &mut Level, now: Micros, units: u64) {
        let room = self.most_owed().saturating_sub(self.length(units));
        let missing = self.missing(level, now);
        if missing > room {
            *level = self.level(room, now);
        }
    }

    fn give_back(&self, level: &mut Level, now: Micros, above: u64, units: u64) -> u64 {
        let missing = self.missing(level, now);
        let beneath = missing.saturating_sub(self.length(above));
        *level = self.level(missing - beneath.min(self.length(units)), now);
        units.min(div_ceil(beneath, self.period))
    }

    /// A bucket tells how much was missing right after a grant, if nothing came back since. If that
    /// is more than it holds, something came back, and all is unknown.
    fn layer(&self, level: &Level, granted: Micros) -> Option<Layer> {
        let missing = self.missing(level, granted);
        let known = missing > 0 && !self.stepped_back(level, granted);
        known.then(|| Layer { position: granted.0, units: div_ceil(missing, self.period), above: 0 })
    }

    fn carry(&self, old: &Self, level: &mut Level, now: Micros) {
        let missing = old.missing(level, now);
        let stepped_back = old.stepped_back(level, now);
        // The missing units stay, but their length changes with the period. The product is split so
        // that nothing overflows: missing < 2^94, a period < 2^45.
        let (from, to) = (u128::from(old.period.max(1)), u128::from(self.period));
        let missing = if from == to {
            missing
        } else {
            ((missing / from) * to).saturating_add(((missing % from) * to).div_ceil(from))
        };
        // After a clock that stepped back it is unknown how much is missing. The bucket is just empty
        // as it is now, or else the count of the old one would deny for longer than it lasts.
        let missing = if stepped_back { missing.min(self.length(self.burst)) } else { missing };
        *level = self.level(missing, now);
    }

    fn same_pace(&self, old: &Self) -> bool {
        self.period == old.period && self.count == old.count
    }

    fn write(level: &Level, out: &mut Vec<u8>) {
        put_u128(out, level.full());
        put_u64(out, level.ceiling);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<Level, Corrupt> {
        let full = reader.u128()?;
        let ceiling = reader.u64_to(MAX_UNITS)?;
        if full == 0 || full > Level::MAX {
            return Err(Corrupt("bucket level out of range"));
        }
        if ceiling > 0 && ceiling <= self.burst {
            return Err(Corrupt("bucket ceiling without need"));
        }
        Ok(Level::new(full, ceiling))
    }
}
