//! Counts by hour and by day, in UTC.
//!
//! Each entry belongs to a number: hours or days since the epoch. An entry is
//! written at the time at hand, and what is then too old goes. Time that
//! stepped back takes what it counted in the future with it into the hour and
//! day at hand, so that nothing is lost, counted twice or found later under a
//! time that had not come yet.

use super::durations::Durations;
use super::tally::Decided;
use crate::core::text::duration::{DAY, HOUR};
use crate::core::time::Micros;
use crate::core::usage::tally::{UsageTally, WorkOutcome};

/// Hours kept, the one at hand included.
pub const HOURS: u64 = 24;
/// Days kept, today included.
pub const DAYS: u64 = 30;
/// How long usage is kept after the last use.
pub const KEPT_US: u64 = 30 * DAY;

/// A unit of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesPeriod {
    /// An hour of the day.
    Hour,
    /// A day.
    Day,
}

impl SeriesPeriod {
    /// How many are kept.
    pub const fn kept(self) -> u64 {
        match self {
            Self::Hour => HOURS,
            Self::Day => DAYS,
        }
    }

    const fn us(self) -> u64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// The number of the one that holds `at`.
    pub const fn of(self, at: Micros) -> u64 {
        at.0 / self.us()
    }

    /// The name of one in UTC: `2026-11-20T15`, `2026-11-20`.
    pub fn name(self, number: u64) -> String {
        let seconds = number.saturating_mul(self.us()) / 1_000_000;
        let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let utc = time.unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
        let format = match self {
            Self::Hour => "%Y-%m-%dT%H",
            Self::Day => "%Y-%m-%d",
        };
        utc.strftime(format).to_string()
    }
}

/// Tallies by number, ascending; those in which nothing happened are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series(pub(super) Vec<(u64, UsageTally)>);

impl Series {
    /// Makes `now` the newest number: drops what is too old, folds what is
    /// later into it.
    fn turn_to(&mut self, now: u64, kept: u64) {
        self.0.retain(|&(number, _)| number.saturating_add(kept) > now);
        let later = self.0.partition_point(|&(number, _)| number <= now);
        for (_, tally) in self.0.split_off(later) {
            self.add(now, &tally);
        }
    }

    /// Adds to the newest number.
    fn add(&mut self, now: u64, tally: &UsageTally) {
        match self.0.last_mut() {
            Some((number, last)) if *number == now => last.add(tally),
            _ => {
                self.0.reserve_exact(1);
                self.0.push((now, *tally));
            }
        }
    }

    fn get(&self, number: u64) -> UsageTally {
        let found = self.0.binary_search_by_key(&number, |&(number, _)| number).ok();
        found.and_then(|at| self.0.get(at)).map_or_else(UsageTally::default, |&(_, tally)| tally)
    }
}

/// What happened on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSeries {
    pub(super) since: Micros,
    pub(super) last: Micros,
    pub(super) total: UsageTally,
    pub(super) hours: Series,
    pub(super) days: Series,
    pub(super) durations: Durations,
    pub(super) today: Durations,
}

impl UsageSeries {
    /// Nothing yet.
    pub fn new(now: Micros) -> Self {
        Self {
            since: now,
            last: now,
            total: UsageTally::default(),
            hours: Series::default(),
            days: Series::default(),
            durations: Durations::default(),
            today: Durations::default(),
        }
    }

    /// When it began.
    pub const fn since(&self) -> Micros {
        self.since
    }

    /// When it was last added to.
    pub const fn last(&self) -> Micros {
        self.last
    }

    /// When it is forgotten unless something happens.
    pub const fn ends(&self) -> Micros {
        self.last.plus(KEPT_US)
    }

    /// Counts what a limiter decided.
    pub fn decided(&mut self, now: Micros, decided: Decided) {
        self.count(now, &UsageTally::of_decision(decided));
    }

    /// Counts that a grant turned out to be so many units more, or less.
    pub fn corrected(&mut self, now: Micros, units: i64) {
        self.count(now, &UsageTally::of_correction(units));
    }

    /// Counts how the work went.
    pub fn record(&mut self, now: Micros, outcome: &WorkOutcome) {
        self.count(now, &UsageTally::of_outcome(outcome));
        if let Some(ms) = outcome.duration_ms {
            self.durations.add(ms, outcome.count);
            self.today.add(ms, outcome.count);
        }
    }

    fn count(&mut self, now: Micros, tally: &UsageTally) {
        self.turn_to(now);
        self.total.add(tally);
        self.hours.add(SeriesPeriod::Hour.of(now), tally);
        self.days.add(SeriesPeriod::Day.of(now), tally);
    }

    fn turn_to(&mut self, now: Micros) {
        self.hours.turn_to(SeriesPeriod::Hour.of(now), HOURS);
        self.days.turn_to(SeriesPeriod::Day.of(now), DAYS);
        if SeriesPeriod::Day.of(now) > SeriesPeriod::Day.of(self.last) {
            self.today = Durations::default();
        }
        self.last = now;
        self.since = self.since.min(now);
    }

    /// As it stands at `now`, when nothing more happens.
    #[must_use]
    pub fn at(&self, now: Micros) -> Self {
        let mut view = self.clone();
        view.turn_to(now);
        view.last = self.last;
        view
    }

    /// Everything since it began.
    pub const fn total(&self) -> &UsageTally {
        &self.total
    }

    /// All durations since it began.
    pub const fn durations(&self) -> &Durations {
        &self.durations
    }

    /// The durations of the day of the last change, or of [`UsageSeries::at`].
    pub const fn durations_today(&self) -> &Durations {
        &self.today
    }

    /// The tally of one hour or day.
    pub fn get(&self, period: SeriesPeriod, number: u64) -> UsageTally {
        match period {
            SeriesPeriod::Hour => self.hours.get(number),
            SeriesPeriod::Day => self.days.get(number),
        }
    }

    /// The newest `n` hours or days, as of [`UsageSeries::at`] `now`, in which something
    /// happened: the oldest of them first.
    pub fn newest(
        &self,
        period: SeriesPeriod,
        n: u64,
        now: Micros,
    ) -> impl ExactSizeIterator<Item = (u64, &UsageTally)> {
        let series = match period {
            SeriesPeriod::Hour => &self.hours,
            SeriesPeriod::Day => &self.days,
        };
        let first = (period.of(now) + 1).saturating_sub(n);
        let happened = |(number, tally): &&(u64, UsageTally)| *number >= first && !tally.is_empty();
        let found: Vec<_> =
            series.0.iter().filter(happened).map(|(number, tally)| (*number, tally)).collect();
        found.into_iter()
    }

    /// Bytes held, itself included.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + (self.hours.0.capacity() + self.days.0.capacity()) * size_of::<(u64, UsageTally)>()
            + self.durations.heap_bytes()
            + self.today.heap_bytes()
    }
}

// What the cost stated in the module's documentation rests on.
const _: () = assert!(size_of::<(u64, UsageTally)>() <= 96 && size_of::<UsageSeries>() <= 256);
