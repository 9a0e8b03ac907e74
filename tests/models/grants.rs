//! A log of grants: each with its moment, none ever added up.
//!
//! It promises: a unit counts from its grant until its period is over, to the
//! microsecond, and what is given back is the newest.

/// Every grant, oldest first. Times are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantLog(Vec<Grant>);

/// Units that were granted at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub at: u64,
    pub units: u64,
}

impl GrantLog {
    pub fn take(&mut self, at: u64, units: u64) {
        self.0.push(Grant { at, units });
    }

    /// Units that were granted less than `age` ago: what a sliding limit of that period
    /// has in use.
    pub fn younger(&self, now: u64, age: u64) -> u64 {
        self.sum(|grant| grant.at + age > now)
    }

    /// Units that were granted in the window around `now`, where one begins at each
    /// multiple of the period: what a fixed window has in use.
    pub fn in_window(&self, now: u64, period: u64) -> u64 {
        self.sum(|grant| grant.at / period == now / period)
    }

    /// Units that were granted in the period that begins at `from`.
    pub fn within(&self, from: u64, period: u64) -> u64 {
        self.sum(|grant| grant.at >= from && grant.at < from + period)
    }

    fn sum(&self, of: impl Fn(&Grant) -> bool) -> u64 {
        self.0.iter().filter(|grant| of(grant)).map(|grant| grant.units).sum()
    }

    /// The moments at which units come back, each after now and the soonest first.
    pub fn ends(&self, now: u64, period: u64) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().map(move |grant| grant.at + period).filter(move |end| *end > now)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the newest units back, of those younger than `age`; says how many there were.
    pub fn give_back(&mut self, now: u64, age: u64, units: u64) -> u64 {
        self.take_back(units, |grant| grant.at + age > now)
    }

    /// Takes back of what was granted at one moment; says how many there were.
    pub fn give_back_of(&mut self, at: u64, units: u64) -> u64 {
        self.take_back(units, |grant| grant.at == at)
    }

    fn take_back(&mut self, units: u64, of: impl Fn(&Grant) -> bool) -> u64 {
        let mut left = units;
        for grant in self.0.iter_mut().rev().filter(|grant| of(grant)) {
            let back = left.min(grant.units);
            grant.units -= back;
            left -= back;
        }
        self.0.retain(|grant| grant.units > 0);
        units - left
    }
}

#[test]
fn the_newest_units_go_back_first() {
    let mut log = GrantLog::default();
    for (at, units) in [(10, 2), (20, 3), (30, 1)] {
        log.take(at, units);
    }
    assert_eq!((log.younger(29, 10), log.younger(30, 10), log.younger(19, 10)), (4, 1, 6));
    assert_eq!((log.in_window(29, 15), log.within(20, 10)), (3, 3));
    assert_eq!(log.ends(25, 10).collect::<Vec<_>>(), [30, 40]);
    assert_eq!(log.give_back(30, 15, 9), 4);
    assert_eq!(log, GrantLog(vec![Grant { at: 10, units: 2 }]));
    assert_eq!(log.give_back_of(10, 1), 1);
    assert_eq!(log.younger(10, 10), 1);
}
