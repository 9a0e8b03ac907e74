//! A named limit whose period changes from call to call, by a list of its units, each with the
//! moment at which it comes back.
//!
//! It promises: units come back by the period of the last grant, and earlier where a newer period
//! is shorter. What has come back stays back. A call that is denied changes nothing.

/// How a version of the limit counts. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    Sliding,
    /// Windows begin at multiples of the period.
    Fixed,
    FixedFromFirst,
}

/// One version of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub counting: Counting,
    pub count: u64,
    pub period: u64,
}

impl Version {
    pub fn text(self, name: &str) -> String {
        let (count, ms) = (self.count, self.period / 1000);
        match self.counting {
            Counting::Sliding => format!("{count}/{ms}ms:name={name}"),
            Counting::Fixed => format!("fixed:{count}/{ms}ms:name={name}"),
            Counting::FixedFromFirst => format!("fixed:{count}/{ms}ms:start=first:name={name}"),
        }
    }

    const fn is_sliding(self) -> bool {
        matches!(self.counting, Counting::Sliding)
    }
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    /// Its grant; in a window, when that begins.
    since: u64,
    /// When it comes back by the version that was granted last.
    back: u64,
}

/// The usage of the limit.
#[derive(Clone, Debug, Default)]
pub struct PeriodsModel {
    units: Vec<Unit>,
    /// The version that was granted last.
    last: Option<Version>,
}

impl PeriodsModel {
    /// The moments at which the units come back that `version` sees in use, the soonest first.
    fn ends(&self, version: Version, now: u64) -> Vec<u64> {
        if self.last.is_some_and(|last| last.is_sliding() != version.is_sliding()) {
            return Vec::new();
        }
        let end = |unit: &Unit| {
            if version.is_sliding() { unit.back.min(unit.since + version.period) } else { unit.back }
        };
        let mut ends: Vec<u64> = self.units.iter().map(end).filter(|end| *end > now).collect();
        ends.sort_unstable();
        ends
    }

    pub fn used(&self, version: Version, now: u64) -> u64 {
        self.ends(version, now).len() as u64
    }

    /// How long until so many fit; 0 if they do.
    pub fn retry(&self, version: Version, now: u64, units: u64) -> u64 {
        let ends = self.ends(version, now);
        let in_use_at = |at: u64| ends.iter().filter(|end| **end > at).count() as u64;
        let fits = |at: &u64| in_use_at(*at) + units <= version.count;
        [now].into_iter().chain(ends.iter().copied()).find(fits).expect("it fits at last") - now
    }

    pub fn grant(&mut self, version: Version, now: u64, units: u64) {
        let used = self.used(version, now);
        if version.is_sliding() {
            let lasts = |unit: &Unit| unit.back > now && unit.since + version.period > now;
            self.units.retain(|unit| used > 0 && lasts(unit));
            self.units.extend((0..units).map(|_| Unit { since: now, back: 0 }));
            self.units.iter_mut().for_each(|unit| unit.back = unit.since + version.period);
        } else {
            let since = self.window(version, now, used > 0);
            let unit = Unit { since, back: since + version.period };
            self.units = vec![unit; usize::try_from(used + units).unwrap()];
        }
        self.last = Some(version);
    }

    /// When the window of a grant begins.
    fn window(&self, version: Version, now: u64, is_used: bool) -> u64 {
        let first = self.units.first().map(|unit| unit.since).filter(|_| is_used);
        let was_from_first = self.last.is_some_and(|last| last.counting == Counting::FixedFromFirst);
        match (version.counting, first) {
            (Counting::FixedFromFirst, Some(first)) if was_from_first && first + version.period > now => {
                first
            }
            // The last of the units may just have been granted.
            (Counting::FixedFromFirst, _) => now,
            _ => now - now % version.period,
        }
    }

    /// The limit is not listed by a call that is granted, or its key is over.
    pub fn sweep(&mut self, now: u64) {
        self.units.retain(|unit| unit.back > now);
        if self.units.is_empty() {
            self.last = None;
        }
    }

    /// Nothing is in use by the version that was granted last.
    pub fn is_full(&self, now: u64) -> bool {
        self.units.iter().all(|unit| unit.back <= now)
    }
}
