//! A calendar that counts days one by one and looks for local times among all offsets.
//!
//! It promises where each window of a `fixed:` limit begins and ends, in any time zone, by
//! other arithmetic than the limiter's. Of a time zone it believes its offsets alone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Month 1 ..= 12, day 1 ..= 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The date so many days after 1970-01-01, found by walking there.
fn date_of(mut number: i64) -> Date {
    let mut year = 1970;
    loop {
        let days: i64 = (1..=12).map(|month| days_in(year, month)).sum();
        if (0..days).contains(&number) {
            break;
        }
        if number < 0 {
            year -= 1;
            number += (1..=12).map(|month| days_in(year, month)).sum::<i64>();
        } else {
            number -= days;
            year += 1;
        }
    }
    let mut month = 1;
    while number >= days_in(year, month) {
        number -= days_in(year, month);
        month += 1;
    }
    Date { year, month, day: number + 1 }
}

/// The offset from universal time in seconds at an instant in seconds.
fn offset(zone: &TimeZone, at: i64) -> i64 {
    zone.to_offset(Timestamp::from_second(at).unwrap()).seconds().into()
}

/// Days since 1970-01-01 as the wall shows them at an instant in microseconds.
fn local_day(zone: &TimeZone, now: u64) -> i64 {
    let seconds = (now / 1_000_000) as i64;
    (seconds + offset(zone, seconds)).div_euclid(86_400)
}

/// The instant of a local time in seconds since the epoch as a clock on the wall
/// shows them: of two the first; of none, as much later as the clocks skip.
fn instant(zone: &TimeZone, local: i64) -> i64 {
    let around = (-30 * 4..=30 * 4).map(|quarter| local + quarter * 900);
    let mut offsets: Vec<i64> = around.map(|at| offset(zone, at)).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let shown = offsets.iter().map(|off| local - off).filter(|&at| at + offset(zone, at) == local);
    // Nothing shows a skipped time: count on by the offset from before the change.
    shown.min().unwrap_or_else(|| {
        let before = offset(zone, local - 30 * 3600);
        local - before
    })
}

/// The windows of one limit, by what tells one from the next.
#[derive(Clone, Copy, Debug)]
pub enum WindowName {
    /// So many microseconds, from the epoch on.
    Every(u64),
    Days(i64),
    Weeks(i64),
    Month,
}

impl WindowName {
    /// Two instants have one name if they are in one window.
    pub fn at(self, zone: &str, now: u64) -> i64 {
        let day = local_day(&TimeZone::get(zone).unwrap(), now);
        match self {
            Self::Every(us) => (now / us) as i64,
            Self::Days(n) => day.div_euclid(n),
            // Day -3 was a Monday.
            Self::Weeks(n) => (day + 3).div_euclid(7 * n),
            Self::Month => {
                let Date { year, month, .. } = date_of(day);
                year * 100 + month
            }
        }
    }
}

/// What `from=` and the period say.
#[derive(Clone, Copy, Debug)]
pub enum Begins {
    Daily { hour: i64, minute: i64 },
    Weekly { weekday: i64 },
    Monthly { day: i64 },
    Yearly { month: i64, day: i64 },
}

impl Begins {
    /// As a limit's text has it.
    pub fn text(self) -> String {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        match self {
            Self::Daily { hour, minute } => format!("d:from={hour:02}:{minute:02}"),
            Self::Weekly { weekday } => format!("week:from={}", NAMES[weekday as usize]),
            Self::Monthly { day } => format!("month:from={day}"),
            Self::Yearly { month, day } => format!("year:from={month:02}-{day:02}"),
        }
    }

    /// Does a window begin on this day?
    fn on(self, number: i64) -> bool {
        let Date { year, month, day } = date_of(number);
        let lacks = |wanted: i64| wanted > days_in(year, month) && day == days_in(year, month);
        match self {
            Self::Daily { .. } => true,
            // 1970-01-01 was a Thursday.
            Self::Weekly { weekday } => (number + 3).rem_euclid(7) == weekday,
            Self::Monthly { day: wanted } => day == wanted || lacks(wanted),
            Self::Yearly { month: of, day: wanted } => month == of && (day == wanted || lacks(wanted)),
        }
    }

    /// Where the window around an instant begins and ends, in microseconds.
    pub fn window(self, zone: &TimeZone, now: u64) -> (u64, u64) {
        let today = local_day(zone, now);
        let reach = match self {
            Self::Daily { .. } => 4,
            Self::Weekly { .. } => 12,
            Self::Monthly { .. } => 40,
            Self::Yearly { .. } => 400,
        };
        let time = if let Self::Daily { hour, minute } = self { hour * 3600 + minute * 60 } else { 0 };
        let starts: Vec<u64> = (today - reach..=today + reach)
            .filter(|&number| self.on(number))
            .map(|number| instant(zone, number * 86_400 + time).max(0) as u64 * 1_000_000)
            .collect();
        let start = starts.iter().copied().filter(|&start| start <= now).max().unwrap();
        let end = starts.iter().copied().filter(|&start| start > now).min().unwrap();
        (start, end)
    }
}

#[test]
fn it_walks_to_known_dates() {
    for (number, year, month, day) in
        [(0, 1970, 1, 1), (-1, 1969, 12, 31), (11_016, 2000, 2, 29), (20_786, 2026, 11, 29)]
    {
        assert_eq!(date_of(number), Date { year, month, day });
    }
}
