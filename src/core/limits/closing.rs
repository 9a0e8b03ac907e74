//! `block=`: a limit that is exceeded closes itself for a while, and for longer each time if it is
//! exceeded again and again (`grow=`).
//!
//! A block begins with a request that the limit denies because it lacks units that will come back.
//! It ends after its length. Until then, and until the units for that request are back, denials
//! begin no other block. The next block is `grow` times as long as the last, if it begins within
//! twice the last one's length after its end.
//!
//! **A clock that stepped back.** A block that began after now counts as begun now.

use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;
use crate::core::text::duration;
use crate::core::text::duration::{DAY, LONGEST};
use crate::core::text::hundredths::Hundredths;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The largest factor of `grow=`.
const MOST: Hundredths = Hundredths::whole(100);

/// The options `block=`, `grow=` and `maxblock=` of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The length of the first block in microseconds.
    length: u64,
    /// The factor by which each block in a row is longer than the one before.
    grow: Hundredths,
    /// The length of the longest block in microseconds.
    longest: u64,
}

/// The longest block if the token names none: a day, or `block` if that is longer.
fn default_longest(length: u64) -> u64 {
    length.max(DAY)
}

fn length(options: &LimitOptions<'_>, name: &str) -> Result<Option<u64>, Reason> {
    let Some(text) = options.get(name) else { return Ok(None) };
    match duration::parse(text) {
        Ok(0) => Err(format!("{name}= must be at least 1ms").into()),
        Ok(us) => Ok(Some(us)),
        Err(error) => Err(format!("{name}={}: {}", error.token, error.reason).into()),
    }
}

impl Closing {
    /// Reads the three options. `None` without `block=`.
    ///
    /// # Errors
    /// The reason in a few words.
    pub(super) fn parse(options: &LimitOptions<'_>) -> Result<Option<Self>, Reason> {
        let Some(first) = length(options, "block")? else {
            let alone = ["grow", "maxblock"].into_iter().find(|name| options.get(name).is_some());
            return match alone {
                None => Ok(None),
                Some(name) => Err(format!("{name}= needs block=, as in block=15m:grow=2:maxblock=1d").into()),
            };
        };
        let grow = match options.get("grow") {
            None => Hundredths::ONE,
            Some(text) => Some(Hundredths::parse(text).map_err(|reason| format!("grow= {reason}"))?)
                .filter(|grow| (Hundredths::ONE..=MOST).contains(grow))
                .ok_or("grow= must be 1 to 100")?,
        };
        let longest = length(options, "maxblock")?.unwrap_or_else(|| default_longest(first));
        if longest < first {
            return Err("maxblock= is shorter than block=".into());
        }
        Ok(Some(Self { length: first, grow, longest }))
    }

    /// The shortest text of the options, with its leading colon.
    pub(super) fn text(&self) -> String {
        let mut text = format!(":block={}", duration::canonical(self.length));
        if self.grow != Hundredths::ONE {
            text.push_str(&format!(":grow={}", self.grow));
        }
        if self.longest != default_longest(self.length) {
            text.push_str(&format!(":maxblock={}", duration::canonical(self.longest)));
        }
        text
    }

    /// The length of the first block in microseconds.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The block that begins at `now`, after `last`, with a request whose units are back after
    /// `units_after` microseconds. The length is rounded down to the microsecond.
    ///
    /// ```
    /// use floodgate::core::limits::Limits;
    /// use floodgate::core::time::Micros;
    ///
    /// let limits = Limits::parse(b"5/m:block=10s:grow=1.5").unwrap();
    /// let closing = limits.as_slice()[0].closing().unwrap();
    /// let first = closing.block(None, Micros(0), 0);
    /// assert_eq!(first.end(), Micros(10_000_000));
    /// // The first block is remembered for twice its length.
    /// let second = closing.block(Some(&first), Micros(30_000_000), 0);
    /// assert_eq!(second.end(), Micros(45_000_000));
    /// let forgotten = closing.block(Some(&first), Micros(30_000_001), 0);
    /// assert_eq!(forgotten.end(), Micros(40_000_001));
    /// ```
    pub fn block(&self, last: Option<&Closed>, now: Micros, units_after: u64) -> Closed {
        let grown =
            last.map_or(0, |last| if last.is_remembered(now) { self.grow.times(last.length) } else { 0 });
        Closed {
            began: now,
            length: grown.clamp(self.length, self.longest),
            units_after: units_after.min(LONGEST_WANT),
            grows: self.grow > Hundredths::ONE && self.longest > self.length,
        }
    }
}

/// The longest time until units are back that is distinguished: the 142 years of the clock.
const LONGEST_WANT: u64 = Micros::MAX.0;

/// A block that a limit began. It exists while it lasts and while it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    began: Micros,
    /// The length in microseconds.
    length: u64,
    /// The microseconds from the start of the block until the units are back for lack of which it
    /// began. 0 once it is known that they are.
    units_after: u64,
    /// True if the block is remembered after its end, so that the next one can be longer.
    grows: bool,
}

impl Closed {
    /// The end of the block.
    pub const fn end(&self) -> Micros {
        self.began.plus(self.length)
    }

    /// The first moment at which the next block does not grow.
    const fn grows_until(&self) -> Micros {
        if self.grows { self.end().plus(self.length.saturating_mul(2)).plus(1) } else { self.end() }
    }

    /// The moment from which on a denial begins another block.
    fn covers_until(&self) -> Micros {
        self.began.plus(self.length.max(self.units_after))
    }

    /// The first moment at which the block no longer matters.
    pub(super) fn forgotten_at(&self) -> Micros {
        self.grows_until().max(self.covers_until())
    }

    /// The same block; it counts as begun now if it began later, because the clock stepped back.
    #[must_use]
    pub(super) fn seen_at(self, now: Micros) -> Self {
        Self { began: self.began.min(now), ..self }
    }

    /// True if the block began after `now`.
    pub(super) fn stepped_back(&self, now: Micros) -> bool {
        now < self.began
    }

    /// The end of the block, if it lasts at `now`.
    pub fn lasts_until(&self, now: Micros) -> Option<Micros> {
        Some(self.seen_at(now).end()).filter(|&end| now < end)
    }

    /// True if denials at `now` begin no other block.
    pub(super) fn covers(&self, now: Micros) -> bool {
        now < self.seen_at(now).covers_until()
    }

    /// True if the block no longer matters at `now`.
    pub fn is_forgotten(&self, now: Micros) -> bool {
        self.seen_at(now).forgotten_at() <= now
    }

    /// True if the next block may be longer than this one.
    fn is_remembered(&self, now: Micros) -> bool {
        self.grows && now < self.seen_at(now).grows_until()
    }

    /// Records that units were granted after the block's end, or given back. So no earlier denial
    /// waits for them.
    pub(super) const fn units_are_back(&mut self) {
        self.units_after = 0;
    }

    /// Appends the lossless encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.began.0);
        put_u64(out, self.length << 1 | u64::from(self.grows));
        put_u64(out, self.units_after);
    }

    /// Reads what [`Closed::write`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] for a block that no limit can begin.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let began = Micros(reader.u64_to(Micros::MAX.0)?);
        let packed = reader.u64_to(LONGEST << 1 | 1)?;
        let units_after = reader.u64_to(LONGEST_WANT)?;
        match packed >> 1 {
            0 => Err(Corrupt("empty block")),
            length => Ok(Self { began, length, units_after, grows: packed & 1 == 1 }),
        }
    }
}
