//! Windows that follow a calendar: days, weeks and months of a time zone.
//!
//! A window goes from one local midnight to another. Where the clocks skip
//! midnight it starts when they do; where midnight comes twice, at the first.
//! So every instant lies in exactly one window, and windows of a day last 23 or
//! 25 hours when daylight saving starts or ends.

use super::quantity::Reason;
use super::window::Window;
use crate::core::text::duration::DAY;
use crate::core::time::Micros;
use jiff::civil::{Date, Time, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time zone of the bundled tz database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Finds a zone by its IANA name; letter case does not matter.
    ///
    /// # Errors
    /// The reason in a few words when there is none.
    pub fn parse(name: &[u8]) -> Result<Self, Reason> {
        let unknown = || Reason::from("unknown time zone");
        let name = std::str::from_utf8(name).map_err(|_| unknown())?;
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        // Zones without a name, such as the placeholder for "unknown", cannot
        // be written down again.
        if zone.is_unknown() || zone.iana_name().is_none() { Err(unknown()) } else { Ok(Self(zone)) }
    }

    /// The name as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// What a window consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// So many local days, counted from 1970-01-01.
    Days(u64),
    /// So many weeks from Monday, counted from 1969-12-29.
    Weeks(u64),
    /// A month.
    Month,
}

/// Windows of a calendar in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// What a window consists of.
    pub unit: Unit,
    /// Whose midnight counts.
    pub zone: Zone,
}

const EPOCH: Date = date(1970, 1, 1);
/// 1969-12-29, a Monday, as a number of days since the epoch.
const FIRST_MONDAY: i64 = -3;

impl Calendar {
    /// The length of the longest month, or of the days without daylight saving.
    pub fn nominal_us(&self) -> u64 {
        match self.unit {
            Unit::Days(n) => n.saturating_mul(DAY),
            Unit::Weeks(n) => n.saturating_mul(7 * DAY),
            Unit::Month => 31 * DAY,
        }
    }

    /// The window that `now` lies in.
    pub fn window_of(&self, now: Micros) -> Window {
        self.find(now).unwrap_or_else(|| {
            // Beyond the years that the calendar knows (9999): no date to align
            // to, but still windows.
            Window::multiple(self.nominal_us(), 0, now)
        })
    }

    fn find(&self, now: Micros) -> Option<Window> {
        let instant = Timestamp::from_microsecond(i64::try_from(now.0).ok()?).ok()?;
        let mut index = self.index_of(self.zone.0.to_datetime(instant).date());
        // A local date can come back when the clocks go back over midnight; the
        // neighbour is then the right one.
        for _ in 0..3 {
            let window = Window { start: self.start_of(index)?, end: self.start_of(index + 1)? };
            if now >= window.end {
                index += 1;
            } else if now < window.start {
                index -= 1;
            } else {
                return Some(window);
            }
        }
        None
    }

    /// The number of the window that a local date lies in.
    fn index_of(&self, date: Date) -> i64 {
        let days = date.duration_since(EPOCH).as_hours() / 24;
        match self.unit {
            Unit::Days(n) => days.div_euclid(to_i64(n)),
            Unit::Weeks(n) => (days - FIRST_MONDAY).div_euclid(to_i64(n) * 7),
            Unit::Month => i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
        }
    }

    /// When the window of that number starts; not before the epoch.
    fn start_of(&self, index: i64) -> Option<Micros> {
        let first = match self.unit {
            Unit::Days(n) => day(index.checked_mul(to_i64(n))?)?,
            Unit::Weeks(n) => day(index.checked_mul(to_i64(n) * 7)?.checked_add(FIRST_MONDAY)?)?,
            Unit::Month => {
                let year = i16::try_from(index.div_euclid(12)).ok()?;
                let month = i8::try_from(index.rem_euclid(12) + 1).ok()?;
                Date::new(year, month, 1).ok()?
            }
        };
        // "Compatible" reading: after a gap its end, of two midnights the first.
        let start = self.zone.0.to_timestamp(first.to_datetime(Time::midnight())).ok()?;
        Some(Micros(u64::try_from(start.as_microsecond()).unwrap_or(0)))
    }
}

/// The date so many days after the epoch.
fn day(number: i64) -> Option<Date> {
    EPOCH.checked_add(SignedDuration::from_hours(number.checked_mul(24)?)).ok()
}

/// At least 1, so that it can divide.
fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX / 8).clamp(1, i64::MAX / 8)
}
