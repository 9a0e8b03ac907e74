//! Counts by hour and by day, in UTC.
//!
//! Each entry has a number: that of the hour or day since the epoch. An entry is written at the
//! current time, and entries that are then too old are dropped. If the clock went back, counts of
//! later hours and days are added to the current hour and day. So nothing is lost, counted twice,
//! or shown for a time that has not come yet.

use super::durations::Durations;
use super::tally::Decided;
use crate::core::text::duration::{DAY, HOUR};
use crate::core::time::Micros;
use crate::core::usage::tally::{UsageTally, WorkOutcome};

/// The number of hours that are kept, the current one included.
pub const HOURS: u64 = 24;
/// The number of days that are kept, today included.
pub const DAYS: u64 = 30;
/// The time in microseconds for which usage is kept after the last event.
pub const KEPT_US: u64 = 30 * DAY;

/// The period of an entry of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesPeriod {
    /// One hour.
    Hour,
    /// One day.
    Day,
}

impl SeriesPeriod {
    /// The number of such periods that are kept.
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

    /// The number of the period that holds `at`.
    pub const fn of(self, at: Micros) -> u64 {
        at.0 / self.us()
    }

    /// The name of a period in UTC, such as `2026-11-20T15` or `2026-11-20`.
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

/// The tallies of the periods by number, in ascending order. Periods without events are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series(pub(super) Vec<(u64, UsageTally)>);

impl Series {
    /// Makes `now` the newest number. Entries that are too old are dropped, and later ones are
    /// added to it.
    fn turn_to(&mut self, now: u64, kept: u64) {
        self.0.retain(|&(number, _)| number.saturating_add(kept) > now);
        let later = self.0.partition_point(|&(number, _)| number <= now);
        for (_, tally) in self.0.split_off(later) {
            self.add(now, &tally);
        }
    }

    /// Adds a tally to the newest number.
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

/// The usage of one key.
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
    /// Usage without events, from `now` on.
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

    /// The time since which events are counted.
    pub const fn since(&self) -> Micros {
        self.since
    }

    /// The time of the last event.
    pub const fn last(&self) -> Micros {
        self.last
    }

    /// The time at which the usage is forgotten, unless another event comes.
    pub const fn ends(&self) -> Micros {
        self.last.plus(KEPT_US)
    }

    /// Counts a decision on a request.
    pub fn decided(&mut self, now: Micros, decided: Decided) {
        self.count(now, &UsageTally::of_decision(decided));
    }

    /// Corrects the used units of a grant by `units`, which may be negative.
    pub fn corrected(&mut self, now: Micros, units: i64) {
        self.count(now, &UsageTally::of_correction(units));
    }

    /// Takes up to `units` off the used units, so that no fewer than 0 are left of all.
    pub fn given_back(&mut self, now: Micros, units: u64) {
        let units = i64::try_from(units).unwrap_or(i64::MAX).min(self.total.used);
        if units > 0 {
            self.corrected(now, -units);
        }
    }

    /// Counts an outcome of the work.
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

    /// The usage as it is at `now`, if no more events come.
    #[must_use]
    pub fn at(&self, now: Micros) -> Self {
        let mut view = self.clone();
        view.turn_to(now);
        view.last = self.last;
        view
    }

    /// The tally of all events.
    pub const fn total(&self) -> &UsageTally {
        &self.total
    }

    /// The durations of all events.
    pub const fn durations(&self) -> &Durations {
        &self.durations
    }

    /// The durations of the day of the last event, or of the day that [`UsageSeries::at`] was
    /// given.
    pub const fn durations_today(&self) -> &Durations {
        &self.today
    }

    const fn series(&self, period: SeriesPeriod) -> &Series {
        match period {
            SeriesPeriod::Hour => &self.hours,
            SeriesPeriod::Day => &self.days,
        }
    }

    /// The tally of one hour or day.
    pub fn get(&self, period: SeriesPeriod, number: u64) -> UsageTally {
        self.series(period).get(number)
    }

    /// The hours or days with events among the newest `n`, the oldest first. Call it on the result
    /// of [`UsageSeries::at`] for the same `now`.
    pub fn newest(
        &self,
        period: SeriesPeriod,
        n: u64,
        now: Micros,
    ) -> impl Iterator<Item = (u64, &UsageTally)> {
        let first = (period.of(now) + 1).saturating_sub(n);
        let entries = self.series(period).0.iter().map(|(number, tally)| (*number, tally));
        entries.filter(move |(number, tally)| *number >= first && !tally.is_empty())
    }

    /// The bytes held, the value itself included.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + (self.hours.0.capacity() + self.days.0.capacity()) * size_of::<(u64, UsageTally)>()
            + self.durations.heap_bytes()
            + self.today.heap_bytes()
    }
}

// The cost in the module documentation of `usage` rests on this.
const _: () = assert!(size_of::<(u64, UsageTally)>() <= 96 && size_of::<UsageSeries>() <= 256);
