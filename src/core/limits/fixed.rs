//! At most `count` units in each window of time.
//!
//! Windows are multiples of the period since the epoch, weeks from Monday, months or years. They
//! can follow a time zone, or begin elsewhere (`from=`). With `start=first`, a window starts with
//! the first grant after the last window ended.
//!
//! **A credit** (`fixed:5000/ever`) is a window that never ends. Its start is the millisecond of
//! its last grant. If a limit of this name gets another period, the units count as granted then.
//!
//! **A clock that stepped back** before the start of the window takes the usage along into the
//! current window, so that it counts until that ends.

use super::algorithm::{Algorithm, MAX_UNITS};
use super::calendar::{Calendar, Unit, Zone};
use super::layer::Layer;
use super::quantity::{self, Period, Reason};
use super::window::Window;
use super::window_count::WindowCount;
use crate::core::limits::options::LimitOptions;
use crate::core::text::duration::{DAY, MILLISECOND, WEEK};
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_u64};

/// The time in microseconds from 1969-12-29, the Monday to which weeks are aligned, to the epoch.
const SINCE_MONDAY: u64 = 3 * DAY;

/// The places of windows in time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Windows {
    /// Multiples of this length in microseconds since the epoch.
    Every(u64),
    /// Windows of this many weeks from Monday, in universal time.
    Weeks(u64),
    /// Months, years, and all windows with a time zone or another start.
    Calendar(Calendar),
    /// A window of this many microseconds from the first grant.
    FromFirst(u64),
    /// One window without end: a credit.
    Ever,
}

/// `fixed:count/period`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    count: u64,
    windows: Windows,
}

impl Fixed {
    #[inline]
    fn window_of(&self, now: Micros) -> Window {
        match &self.windows {
            Windows::Every(period) => Window::multiple(*period, 0, now),
            Windows::Weeks(n) => Window::multiple(n.saturating_mul(WEEK), SINCE_MONDAY, now),
            Windows::Calendar(calendar) => calendar.window_of(now),
            Windows::FromFirst(period) => Window { start: now, end: now.plus(*period) },
            Windows::Ever => Window { start: now.minus(now.0 % MILLISECOND), end: Micros::NEVER },
        }
    }

    /// The interval in which the units that are used of a window were granted, as far as that is
    /// known.
    const fn granted_in(&self, window: Window) -> Window {
        match &self.windows {
            // The last grant may have taken all of them.
            Windows::Ever => Window { start: window.start, end: window.start.plus(1) },
            _ => window,
        }
    }

    /// The window that a grant at `now` falls into.
    #[inline]
    fn window(&self, usage: &WindowCount, now: Micros) -> Window {
        if usage.window.contains(now) { usage.window } else { self.window_of(now) }
    }

    /// The length in microseconds that no window exceeds; 0 for a window without end.
    fn longest_us(&self) -> u64 {
        match &self.windows {
            Windows::Every(period) | Windows::FromFirst(period) => *period,
            Windows::Weeks(n) => n.saturating_mul(WEEK),
            // Two days more, because a zone may move across the date line.
            Windows::Calendar(calendar) => calendar.nominal_us().saturating_add(2 * DAY),
            Windows::Ever => 0,
        }
    }
}

/// The windows that a period and its options mean.
fn windows(period: Period, options: &LimitOptions<'_>) -> Result<Windows, Reason> {
    let (tz, from) = (options.get("tz"), options.get("from"));
    if period == Period::Ever {
        return match ["tz", "start", "from"].into_iter().find(|name| options.get(name).is_some()) {
            None => Ok(Windows::Ever),
            Some(name) => Err(format!("ever has no windows, it takes no {name}=").into()),
        };
    }
    if let Some(start) = options.get("start") {
        if !start.eq_ignore_ascii_case(b"first") {
            return Err("start= must be first".into());
        }
        for (name, given) in [("tz=", tz), ("from=", from)] {
            if given.is_some() {
                return Err(format!("start=first and {name} exclude each other").into());
            }
        }
        return match period {
            Period::Month => Err("start=first takes no month".into()),
            Period::Year => Err("start=first takes no year".into()),
            Period::Exact(_) | Period::Weeks(_) | Period::Ever => Ok(Windows::FromFirst(period.length()?)),
        };
    }
    let zone = tz.map_or(Ok(Zone::UTC), Zone::parse)?;
    let unit = match period {
        Period::Exact(us) if us.is_multiple_of(DAY) => Some(Unit::Days(us / DAY)),
        Period::Exact(_) | Period::Ever => None,
        Period::Weeks(n) => Some(Unit::Weeks(n)),
        Period::Month => Some(Unit::MONTH),
        Period::Year => Some(Unit::YEAR),
    };
    let unit = match (unit, from) {
        (Some(unit), Some(from)) => Some(unit.from(from)?),
        (None, Some(_)) => return Err("from= needs a period of one day, week, month or year".into()),
        (None, None) if tz.is_some() => {
            return Err("tz= needs a period of whole days, weeks, a month or a year".into());
        }
        (unit, None) => unit,
    };
    Ok(match (period, unit) {
        // In universal time, windows that begin at midnight need no calendar.
        (Period::Exact(us), None | Some(Unit::Days(_))) if zone == Zone::UTC => Windows::Every(us),
        (_, Some(Unit::Weeks(n))) if zone == Zone::UTC => Windows::Weeks(n),
        (_, Some(unit)) => Windows::Calendar(Calendar { unit, zone }),
        (period, None) => Windows::Every(period.length()?),
    })
}

impl Algorithm for Fixed {
    type State = WindowCount;
    const NAME: &'static str = "fixed";
    const OPTIONS: &'static [&'static str] = &["tz", "start", "from"];

    fn parse(quantity: &[u8], options: &LimitOptions<'_>) -> Result<Self, Reason> {
        let (count, period) = quantity::parse(quantity)?;
        Ok(Self { count, windows: windows(period, options)? })
    }

    fn head(&self) -> String {
        let period = match &self.windows {
            Windows::Every(us) | Windows::FromFirst(us) => quantity::period_text(*us),
            Windows::Weeks(n) => quantity::weeks_text(*n),
            Windows::Calendar(calendar) => match calendar.unit {
                Unit::Days(n) => quantity::period_text(n.saturating_mul(DAY)),
                Unit::DayFrom(_) => quantity::period_text(DAY),
                Unit::Weeks(n) => quantity::weeks_text(n),
                Unit::WeekFrom(_) => quantity::weeks_text(1),
                Unit::Month { .. } => "month".to_owned(),
                Unit::Year { .. } => "year".to_owned(),
            },
            Windows::Ever => "ever".to_owned(),
        };
        format!("fixed:{}/{period}", self.count)
    }

    fn tail(&self) -> String {
        match &self.windows {
            Windows::FromFirst(_) => ":start=first".to_owned(),
            Windows::Calendar(calendar) => {
                let mut text = String::new();
                if calendar.zone != Zone::UTC {
                    text = format!(":tz={}", calendar.zone.name());
                }
                if let Some(from) = calendar.unit.from_text() {
                    text.push_str(&format!(":from={from}"));
                }
                text
            }
            Windows::Every(_) | Windows::Weeks(_) | Windows::Ever => String::new(),
        }
    }

    fn same_usage(&self, other: &Self) -> bool {
        self.windows == other.windows
    }

    fn period_us(&self) -> Option<u64> {
        match &self.windows {
            Windows::Calendar(calendar) => Some(calendar.nominal_us()),
            Windows::Ever => None,
            _ => Some(self.longest_us()),
        }
    }

    fn covering_us(&self) -> Option<u64> {
        match &self.windows {
            Windows::Calendar(calendar) => Some(calendar.covering_us()),
            _ => self.refill_us(),
        }
    }

    #[inline]
    fn comes_back(&self) -> bool {
        !matches!(self.windows, Windows::Ever)
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.count
    }

    #[inline]
    fn is_fresh(usage: &WindowCount) -> bool {
        usage.used == 0
    }

    #[inline]
    fn used(&self, usage: &WindowCount, now: Micros) -> u64 {
        if now < usage.window.end { usage.used } else { 0 }
    }

    fn falls_to(&self, usage: &WindowCount, now: Micros, target: u64) -> Micros {
        if self.used(usage, now) <= target { now } else { self.window(usage, now).end }
    }

    #[inline]
    fn full_after(&self, usage: &WindowCount, now: Micros, taken: u64) -> Micros {
        if self.used(usage, now).saturating_add(taken) == 0 { now } else { self.window(usage, now).end }
    }

    #[inline]
    fn stepped_back(&self, usage: &WindowCount, now: Micros) -> bool {
        now < usage.window.start
    }

    fn not_before(&self, usage: &WindowCount) -> Micros {
        usage.window.start
    }

    #[inline]
    fn outlasts_now(&self, usage: &WindowCount, now: Micros) -> bool {
        usage.used > 0 && usage.window.contains(now)
    }

    #[inline]
    fn take(&self, usage: &mut WindowCount, now: Micros, units: u64) {
        let used = self.used(usage, now).saturating_add(units).min(MAX_UNITS);
        *usage = if used == 0 {
            WindowCount::default()
        } else if units > 0 && matches!(self.windows, Windows::Ever) {
            WindowCount { window: self.window_of(now), used }
        } else {
            WindowCount { window: self.window(usage, now), used }
        };
    }

    fn give_back(&self, usage: &mut WindowCount, now: Micros, above: u64, units: u64) -> u64 {
        let used = self.used(usage, now);
        let back = units.min(used.saturating_sub(above));
        let left = used - back;
        *usage = if left == 0 {
            WindowCount::default()
        } else {
            WindowCount { window: self.window(usage, now), used: left }
        };
        back
    }

    fn layer(&self, usage: &WindowCount, granted: Micros) -> Option<Layer> {
        let Window { start, .. } = usage.window;
        let there = usage.window.contains(granted);
        there.then_some(Layer { position: start.0, units: usage.used, above: 0 })
    }

    fn carry(&self, old: &Self, usage: &mut WindowCount, now: Micros) {
        if self.windows == old.windows {
            return;
        }
        // It is unknown where within its window the usage fell. So it counts if any part of that
        // window lies in the new one.
        let granted = old.granted_in(usage.window);
        let window = match &self.windows {
            Windows::FromFirst(period) => {
                let first = granted.start.min(now);
                let known = matches!(old.windows, Windows::FromFirst(_)) && first.plus(*period) > now;
                // The window may have begun as late as with the last of the units.
                let start = if known { first } else { Micros(granted.end.0.saturating_sub(1)).min(now) };
                Window { start, end: start.plus(*period) }
            }
            _ => self.window_of(now),
        };
        // Units that have come back stay back, because the key may have forgotten them.
        let counts = old.used(usage, now) > 0 && window.contains(now) && window.start < granted.end;
        *usage = if counts { WindowCount { window, used: usage.used } } else { WindowCount::default() };
    }

    fn kept_falls_to(&self, old: &Self, usage: &WindowCount, now: Micros, _target: u64) -> Micros {
        let kept = if old.stepped_back(usage, now) { old.window(usage, now) } else { usage.window };
        if old.comes_back() || !self.comes_back() {
            return kept.end;
        }
        // All units of a credit may be those of its last grant, and leave with the window of that.
        self.window_of(kept.start).end
    }

    fn write(usage: &WindowCount, out: &mut Vec<u8>) {
        put_u64(out, usage.window.start.0);
        // The length; 0 for a window without end.
        let ends = usage.window.end != Micros::NEVER;
        put_u64(out, if ends { usage.window.end.since(usage.window.start) } else { 0 });
        put_u64(out, usage.used);
    }

    fn read(&self, reader: &mut Reader<'_>) -> Result<WindowCount, Corrupt> {
        let start = Micros(reader.u64_to(Micros::MAX.0)?);
        let length = reader.u64_to(self.longest_us())?;
        let used = reader.u64_to(MAX_UNITS)?;
        if used == 0 {
            return Err(Corrupt("empty window"));
        }
        let window = match (&self.windows, length) {
            // The same window as `window_of` makes.
            (Windows::Ever, _) if start.0.is_multiple_of(MILLISECOND) => self.window_of(start),
            (Windows::Ever, _) => return Err(Corrupt("a credit between two milliseconds")),
            (_, 0) => return Err(Corrupt("empty window")),
            (_, length) => Window { start, end: start.plus(length) },
        };
        Ok(WindowCount { window, used })
    }
}
