//! `block=`: a limit that is exceeded closes itself for a while, and for longer each time if it is
//! exceeded again and again (`grow=`).
//!
//! A block begins with a request that the limit denies because it lacks units that will come back.
//! It ends after its length. Until then, and until the units for that request are back, denials
//! begin no other block. The next block is `grow` times as long as the last, if it begins within
//! twice the last one's length after its end.
//!
//! **When its units are back** is calculated again with each change of the units in use: a charge
//! makes it later, and a refund earlier. After the block's end the limit may grant requests that
//! need less. What these take makes it no later: else one large request would keep denials of small
//! ones from ever closing the limit again.
//!
//! **A clock that stepped back.** A block that began after now counts as begun now.

use super::algorithm::MAX_UNITS;
use super::quantity::Reason;
use crate::core::limits::options::LimitOptions;
use crate::core::text::duration;
use crate::core::text::duration::{DAY, LONGEST};
use crate::core::text::hundredths::{Hundredths, HundredthsError};
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

/// The reason for which a text is no factor.
fn no_factor(error: &HundredthsError) -> Reason {
    match error {
        HundredthsError::TooManyDecimals => "grow= has more than two decimals".into(),
        HundredthsError::NoDecimals => "grow= has no decimals after the point".into(),
        HundredthsError::MalformedDecimals => "grow= has malformed decimals".into(),
        HundredthsError::NotANumber(_) | HundredthsError::Missing => format!("grow= {error}").into(),
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
            Some(text) => Some(Hundredths::parse(text).map_err(|error| no_factor(&error))?)
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

    /// The block that begins at `now`, after `last`, with a request that fits when `need` units are
    /// free, which is after `units_after` microseconds. The length is rounded down to the
    /// microsecond.
    ///
    /// ```
    /// use floodgate::core::limits::Limits;
    /// use floodgate::core::time::Micros;
    ///
    /// let limits = Limits::parse(b"5/m:block=10s:grow=1.5").unwrap();
    /// let closing = limits.as_slice()[0].closing().unwrap();
    /// let first = closing.block(None, Micros(0), 1, 0);
    /// assert_eq!(first.end(), Micros(10_000_000));
    /// // The first block is remembered for twice its length.
    /// let second = closing.block(Some(&first), Micros(30_000_000), 1, 0);
    /// assert_eq!(second.end(), Micros(45_000_000));
    /// let forgotten = closing.block(Some(&first), Micros(30_000_001), 1, 0);
    /// assert_eq!(forgotten.end(), Micros(40_000_001));
    /// ```
    pub fn block(&self, last: Option<&Closed>, now: Micros, need: u64, units_after: u64) -> Closed {
        let grown =
            last.map_or(0, |last| if last.is_remembered(now) { self.grow.times(last.length) } else { 0 });
        Closed {
            began: now,
            length: grown.clamp(self.length, self.longest),
            units_after: units_after.min(LONGEST_WANT),
            need: need.min(ALL - 1),
            granted: false,
            grows: self.grow > Hundredths::ONE && self.longest > self.length,
        }
    }
}

/// The longest time until units are back that is distinguished: the 142 years of the clock.
const LONGEST_WANT: u64 = Micros::MAX.0;

/// The need of a block that was stored without it, as earlier versions did. It is more than any
/// block's own.
const ALL: u64 = MAX_UNITS;

/// Stands beside the length of a block that is stored with its need.
const WITH_NEED: u64 = 1 << 46;

const _: () = assert!(WITH_NEED > LONGEST << 1 | 1);

/// A block that a limit began. It exists while it lasts and while it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    began: Micros,
    /// The length in microseconds.
    length: u64,
    /// The microseconds from the start of the block until the units are back for lack of which it
    /// began.
    units_after: u64,
    /// The units that are then free.
    need: u64,
    /// True if units were granted since its end, so that `units_after` gets no larger.
    granted: bool,
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
        Self { began: self.began.min(now), granted: self.granted && !self.stepped_back(now), ..self }
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

    /// False if an earlier version stored the block, which knew only when its units are back.
    const fn has_need(&self) -> bool {
        self.need < ALL
    }

    /// The units that must be free for the request that began the block.
    pub(super) const fn need(&self) -> u64 {
        self.need
    }

    /// Records that units are granted at `now`.
    pub(super) fn note_grant(&mut self, now: Micros) {
        self.granted |= self.has_need() && self.lasts_until(now).is_none();
    }

    /// Records that as of a change at `now` the units for the request that began the block are back
    /// at `back`, unless they were back before.
    pub(super) fn units_back_at(&mut self, now: Micros, back: Micros) {
        *self = self.seen_at(now);
        if !self.covers(now) {
            return;
        }
        // What never comes back closes nothing.
        let after = if back == Micros::NEVER { 0 } else { back.since(self.began).min(LONGEST_WANT) };
        let no_later = self.granted || !self.has_need();
        self.units_after = if no_later { after.min(self.units_after) } else { after };
    }

    /// Appends the lossless encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        let has_need = self.has_need();
        put_u64(out, self.began.0);
        put_u64(out, self.length << 1 | u64::from(self.grows) | if has_need { WITH_NEED } else { 0 });
        put_u64(out, self.units_after);
        if has_need {
            put_u64(out, self.need << 1 | u64::from(self.granted));
        }
    }

    /// Reads what [`Closed::write`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] for a block that no limit can begin.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let began = Micros(reader.u64_to(Micros::MAX.0)?);
        let packed = reader.u64_to(WITH_NEED | LONGEST << 1 | 1)?;
        let units_after = reader.u64_to(LONGEST_WANT)?;
        let need = if packed & WITH_NEED == 0 { ALL << 1 } else { reader.u64_to((ALL << 1) - 1)? };
        match (packed % WITH_NEED) >> 1 {
            length @ 1..=LONGEST => Ok(Self {
                began,
                length,
                units_after,
                need: need >> 1,
                granted: need & 1 == 1,
                grows: packed & 1 == 1,
            }),
            _ => Err(Corrupt("no length of a block")),
        }
    }
}
