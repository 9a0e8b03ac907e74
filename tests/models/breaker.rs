//! A breaker that keeps every result in a list for each kind of window that was named,
//! and counts anew each time.
//!
//! It promises the state, the permit, the wait and the epoch of every call.
//!
//! It has no idea of keys: each call says which breaker is in force (`own`) and
//! which one holds for the call (`by`), as the commands do.

use std::collections::HashSet;

use floodgate::core::breaker::{Breaker, CircuitState, Force, Permit, Report, ReportOutcome, Reporter, Trip};

/// A result as it was recorded: the sixteenth of the period that it fell in
/// (of no meaning for other kinds), whether it failed, whether it was slow, and who
/// reported it.
#[derive(Clone, Debug)]
struct Recorded {
    slice: i128,
    failed: bool,
    slow: bool,
    by: Reporter,
    /// After a step of the clock it is not known any more who reported the failure, or
    /// the slow call.
    forgotten: [bool; 2],
}

impl Recorded {
    /// Whether it failed, and whether it was slow.
    fn is(&self, what: usize) -> bool {
        [self.failed, self.slow][what]
    }
}

/// What the results of a breaker belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Run,
    Period(u64),
    Calls(u16),
}

pub fn kind_of(b: &Breaker) -> Kind {
    match b.trip() {
        Trip::Consecutive { .. } => Kind::Run,
        Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. } => Kind::Period(period_us),
        Trip::RateCalls { calls, .. } => Kind::Calls(calls),
    }
}

/// All results since a kind was first named, or since the breaker closed.
#[derive(Clone, Debug)]
struct Window {
    kind: Kind,
    results: Vec<Recorded>,
    newest: i128,
    /// When it was named last, as a count of all that were named.
    named: u64,
}

/// A trial that has no result: its number, when it began, its lease.
type Trial = (u64, u64, u64);

#[derive(Clone, Debug)]
enum Now {
    Closed,
    /// Since when, the length of the ramp, and what was offered and not
    /// admitted, in microseconds of that length.
    Ramp(u64, u64, u128),
    Open(u64),
    /// Results so far (failed, slow), trials in flight, ids given out.
    HalfOpen(Vec<(bool, bool)>, Vec<Trial>, u64),
    Forced(CircuitState, Option<u64>),
}

#[derive(Clone, Debug)]
pub struct BreakerModel {
    now: Now,
    since: u64,
    touched: u64,
    /// That of the breaker in force, then the others.
    windows: Vec<Window>,
    /// How often a breaker was named.
    named: u64,
    /// Whether failures or slow calls came in since the breaker in force was judged last.
    unjudged: bool,
    /// Whether a breaker in force asked for several reporters.
    tells: bool,
    /// Until when a breaker that is not in force wants it kept.
    kept: u64,
    openings: u32,
    epoch: u64,
    /// The least number of an epoch that begins, besides the time and the last number.
    pub least_epoch: u64,
    /// States entered, in order, with the time of each.
    pub entered: Vec<(CircuitState, u64)>,
}

/// What of a breaker says when it opens, besides what is slow.
fn judges_as(a: &Breaker, b: &Breaker) -> bool {
    let slowrate = |b: &Breaker| b.slow_us().map(|_| b.slowrate());
    (a.trip(), a.min(), slowrate(a), a.reporters()) == (b.trip(), b.min(), slowrate(b), b.reporters())
}

/// The length of this opening in a row.
fn open_us(b: &Breaker, openings: u32) -> u64 {
    let mut length = u128::from(b.open_us());
    for _ in 1..openings {
        length = (length * u128::from(b.backoff().0) / 100).min(u128::from(b.maxopen_us()));
    }
    u64::try_from(length).unwrap()
}

impl BreakerModel {
    pub fn new(b: &Breaker, now: u64, epoch: u64) -> Self {
        let windows = vec![Window { kind: kind_of(b), results: Vec::new(), newest: 0, named: 0 }];
        Self {
            now: Now::Closed,
            since: now,
            touched: now,
            windows,
            named: 0,
            unjudged: false,
            tells: b.reporters() > 1,
            kept: 0,
            openings: 0,
            epoch,
            least_epoch: 0,
            entered: Vec::new(),
        }
    }

    pub fn state(&self) -> CircuitState {
        match self.now {
            Now::Closed | Now::Ramp(..) => CircuitState::Closed,
            Now::Open(_) => CircuitState::Open,
            Now::HalfOpen(..) => CircuitState::HalfOpen,
            Now::Forced(state, _) => state,
        }
    }

    /// What somebody sees who goes by `by`.
    pub fn look(&mut self, own: &Breaker, by: &Breaker, now: u64) {
        self.pass(own, now);
        self.judge(by, now);
    }

    /// Whether the next call is a trial.
    pub fn is_due(&self, now: u64) -> bool {
        matches!(self.now, Now::Open(deadline) if deadline <= now)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn openings(&self) -> u32 {
        self.openings
    }

    pub fn in_flight(&self) -> usize {
        if let Now::HalfOpen(_, trials, _) = &self.now { trials.len() } else { 0 }
    }

    /// Calls, failures and slow calls that count at `now`; none where the kind
    /// was never named.
    pub fn tally(&self, b: &Breaker, now: u64) -> (u64, u64, u64) {
        let kept = self.kept(b, now);
        let slow = kept.iter().filter(|r| r.slow && kind_of(b) != Kind::Run).count() as u64;
        (kept.len() as u64, kept.iter().filter(|r| r.failed).count() as u64, slow)
    }

    /// The results that count at `now`.
    fn kept(&self, b: &Breaker, now: u64) -> Vec<&Recorded> {
        let kind = kind_of(b);
        let Some(window) = self.windows.iter().find(|window| window.kind == kind) else { return Vec::new() };
        match kind {
            Kind::Run => window.results.iter().rev().take_while(|r| r.failed).collect(),
            Kind::Period(period_us) => {
                let current = slice(now, period_us);
                let newest = current.max(window.newest);
                window.results.iter().filter(|r| r.slice > newest - 16 && r.slice <= current + 16).collect()
            }
            Kind::Calls(calls) => window.results.iter().rev().take(calls.into()).collect(),
        }
    }

    /// Different reporters of failures and of slow calls that count at `now`, up to 8.
    pub fn reporters(&self, b: &Breaker, now: u64) -> (usize, usize) {
        let mut model = self.clone();
        for window in &mut model.windows {
            if let Kind::Period(period_us) = window.kind {
                forget_reporters(window, slice(now, period_us), self.tells);
            }
        }
        let kept = model.kept(b, now);
        let count = |what: usize| {
            let of = kept.iter().filter(|r| r.is(what) && !r.forgotten[what]);
            let all: HashSet<Reporter> = of.map(|r| r.by).collect();
            all.len().min(8)
        };
        (count(0), if kind_of(b) == Kind::Run { 0 } else { count(1) })
    }

    /// A call names a breaker that may not hold for it.
    pub fn name(&mut self, b: &Breaker) {
        self.note(b);
        self.drop_oldest();
    }

    fn note(&mut self, b: &Breaker) -> usize {
        let kind = kind_of(b);
        self.named += 1;
        let named = self.named;
        if let Some(at) = self.windows.iter().position(|window| window.kind == kind) {
            self.windows[at].named = named;
            return at;
        }
        self.windows.push(Window { kind, results: Vec::new(), newest: 0, named });
        self.windows.len() - 1
    }

    /// Of more than two kinds beside that in force, the one named longest ago goes.
    fn drop_oldest(&mut self) {
        if self.windows.len() > 3 {
            let oldest = (1..self.windows.len()).min_by_key(|&at| self.windows[at].named).unwrap();
            self.windows.remove(oldest);
        }
    }

    /// When it is forgotten, as seen at `now`.
    pub fn forgotten_at(&self, own: &Breaker, now: u64) -> Option<u64> {
        let needed = match &self.now {
            Now::Closed => 0,
            Now::Ramp(since, length, _) => since + length,
            Now::Open(deadline) => deadline + own.lease_us(),
            Now::HalfOpen(_, trials, _) => {
                let last = trials.iter().map(|t| t.1 + t.2).max();
                last.map_or(0, |end| end + open_us(own, self.openings + 1) + own.lease_us())
            }
            &Now::Forced(_, until) => until?,
        };
        let kept = self.kept.saturating_sub(self.touched.saturating_sub(now));
        Some(needed.max(kept).max(self.touched.min(now) + own.idle_us()))
    }

    /// It is in force from now on.
    fn bring(&mut self, own: &Breaker, b: &Breaker) {
        if own.idle_us() > b.idle_us() {
            self.kept = self.kept.max(self.touched + own.idle_us());
        }
        let at = self.note(b);
        self.windows.swap(0, at);
        self.drop_oldest();
        self.unjudged = false;
        self.tells |= b.reporters() > 1;
    }

    fn enter(&mut self, now: Now, at: u64) {
        let from = self.state();
        self.now = now;
        (self.since, self.touched) = (at, at);
        self.epoch = (self.epoch + 1).max(at).max(self.least_epoch);
        if self.state() != from {
            self.entered.push((self.state(), at));
        }
    }

    fn empty(&mut self) {
        for window in &mut self.windows {
            window.results.clear();
            window.newest = 0;
        }
        self.unjudged = false;
        self.openings = 0;
    }

    fn open(&mut self, b: &Breaker, at: u64) {
        self.openings += 1;
        self.enter(Now::Open(at + open_us(b, self.openings)), at);
    }

    /// What began after now begins now; results too far ahead are forgotten.
    pub fn step_back(&mut self, now: u64) {
        let step = self.since.saturating_sub(now);
        match &mut self.now {
            Now::Closed => {}
            Now::Ramp(since, ..) => *since -= step,
            Now::Open(deadline) => *deadline -= step,
            Now::HalfOpen(_, trials, _) => trials.iter_mut().for_each(|trial| trial.1 = trial.1.min(now)),
            Now::Forced(_, until) => *until = until.map(|until| until - step),
        }
        self.since -= step;
        if self.touched <= now {
            return;
        }
        self.kept = self.kept.saturating_sub(self.touched - now);
        self.touched = now;
        for window in &mut self.windows {
            if let Kind::Period(period_us) = window.kind {
                forget_far(window, slice(now, period_us), self.tells);
            }
        }
    }

    /// What time has done by itself, under the breaker in force.
    pub fn pass(&mut self, b: &Breaker, now: u64) {
        self.step_back(now);
        if let Now::Forced(_, Some(until)) = self.now
            && until <= now
        {
            self.empty();
            self.enter(Now::Closed, until);
        }
        self.judge(b, now);
        while let Now::HalfOpen(results, trials, _) = &mut self.now {
            trials.sort_by_key(|&(id, began, lease)| (began + lease, id));
            let Some(&(_, began, lease)) = trials.first().filter(|t| t.1 + t.2 <= now) else { break };
            trials.remove(0);
            results.push((true, false));
            self.judge(b, began + lease);
        }
        if let Now::Ramp(since, length, _) = self.now
            && now - since >= length
        {
            self.now = Now::Closed;
        }
    }

    /// Gives the verdict of a round when all good and all bad results to come
    /// would lead to the same one.
    fn judge(&mut self, b: &Breaker, at: u64) {
        let Now::HalfOpen(results, ..) = &self.now else { return };
        let missing = usize::from(b.probes()).saturating_sub(results.len());
        let opens = |to_come: (bool, bool)| {
            let mut all = results.clone();
            all.resize(results.len() + missing, to_come);
            let failed = all.iter().filter(|r| r.0).count() * 10_000;
            let slow = all.iter().filter(|r| r.1).count() * 10_000;
            match b.trip().rate() {
                None => failed > 0,
                Some(rate) => {
                    failed >= usize::from(rate.hundredths()) * all.len()
                        || b.slow_us().is_some() && slow >= usize::from(b.slowrate().hundredths()) * all.len()
                }
            }
        };
        match (opens((false, false)), opens((true, true))) {
            (true, _) => self.open(b, at),
            (false, true) => {}
            (false, false) => {
                self.empty();
                let length = b.ramp_us();
                let ramp = Now::Ramp(at, length, u128::from(length / 2));
                self.enter(if length > 0 { ramp } else { Now::Closed }, at);
            }
        }
    }

    fn trips(&self, b: &Breaker, now: u64) -> bool {
        let (calls, failures, slow) = self.tally(b, now);
        let (failing, slowing) = self.reporters(b, now);
        // One is always there, even where a step of the clock left nobody to be known.
        let enough_say = |reporters: usize| b.reporters() == 1 || reporters >= usize::from(b.reporters());
        let enough = |part: u64, hundredths: u16| part * 10_000 >= u64::from(hundredths) * calls;
        match b.trip() {
            Trip::Consecutive { failures: n } | Trip::Count { failures: n, .. } => {
                failures >= u64::from(n) && enough_say(failing)
            }
            Trip::RatePeriod { rate, .. } | Trip::RateCalls { rate, .. } => {
                calls >= u64::from(b.min())
                    && (enough(failures, rate.hundredths()) && enough_say(failing)
                        || b.slow_us().is_some()
                            && enough(slow, b.slowrate().hundredths())
                            && enough_say(slowing))
            }
        }
    }

    /// The breaker of a call is judged on what its window holds.
    fn arrive(&mut self, own: &Breaker, by: &Breaker, now: u64) {
        if own != by {
            self.judge(by, now);
        }
        if self.state() == CircuitState::Closed && (self.unjudged || !judges_as(own, by)) {
            if own == by {
                self.unjudged = false;
            }
            if self.trips(by, now) {
                self.open(by, now);
            }
        }
    }

    /// Allowed, with which permit, and else how long to wait (`None` for ever);
    /// and whether the breaker of the call is the one in force from now on.
    pub fn acquire(&mut self, own: &Breaker, by: &Breaker, now: u64) -> (Option<Permit>, Option<u64>, bool) {
        self.pass(own, now);
        let openings = self.openings;
        self.arrive(own, by, now);
        let opened = self.openings > openings;
        if let Now::Open(deadline) = self.now
            && deadline <= now
        {
            self.enter(Now::HalfOpen(Vec::new(), Vec::new(), 0), now);
        }
        let closed = Permit::Closed { epoch: self.epoch };
        let (permit, wait) = match &mut self.now {
            Now::Closed | Now::Forced(CircuitState::ForcedClosed, _) => (Some(closed), Some(0)),
            Now::Ramp(since, length, credit) => {
                let (elapsed, ramp) = (now - *since, by.ramp_us());
                if ramp > *length {
                    *credit = *credit * u128::from(ramp) / u128::from(*length);
                    *length = ramp;
                }
                if elapsed >= ramp {
                    (Some(closed), Some(0))
                } else {
                    *credit += u128::from(elapsed) * u128::from(*length) / u128::from(ramp);
                    if *credit >= u128::from(*length) {
                        *credit -= u128::from(*length);
                        (Some(closed), Some(0))
                    } else {
                        (None, Some(1000))
                    }
                }
            }
            Now::Open(deadline) => (None, Some(*deadline - now)),
            Now::HalfOpen(results, trials, given) => {
                if results.len() + trials.len() < usize::from(by.probes()) {
                    *given += 1;
                    trials.push((*given, now, by.lease_us()));
                    (Some(Permit::Trial { epoch: self.epoch, trial: *given }), Some(0))
                } else {
                    (None, Some(trials.iter().map(|t| t.1 + t.2).min().unwrap() - now))
                }
            }
            Now::Forced(_, until) => (None, until.map(|until| until - now)),
        };
        let adopts = permit.is_some() || opened;
        if own != by && adopts {
            self.bring(own, by);
        } else if own != by {
            // A denied call takes no other kind's place.
            let known = self.windows.iter().any(|window| window.kind == kind_of(by));
            if !known && self.windows.len() < 3 {
                self.name(by);
            }
        }
        (permit, wait, adopts)
    }

    /// Whether the result applies, and whether its breaker is in force now.
    pub fn report(&mut self, own: &Breaker, by: &Breaker, now: u64, report: &Report) -> (bool, bool) {
        let &Report { outcome, permit, duration_us: took_us, reporter } = report;
        self.pass(own, now);
        let failed = outcome == ReportOutcome::Fail;
        let slow = by.slow_us().is_some_and(|limit| took_us.is_some_and(|took| took > limit));
        let openings = self.openings;
        let mut opened = false;
        let applied = match (&mut self.now, permit) {
            (Now::HalfOpen(results, trials, _), Some(Permit::Trial { epoch, trial })) => {
                let at = trials.iter().position(|t| t.0 == trial);
                let Some(at) = at.filter(|_| epoch == self.epoch) else { return (false, false) };
                trials.remove(at);
                if outcome != ReportOutcome::Ignore {
                    results.push((failed, slow));
                }
                self.touched = now;
                self.judge(by, now);
                opened = self.openings > openings;
                self.judge(own, now);
                true
            }
            (Now::Closed | Now::Ramp(..) | Now::Forced(CircuitState::ForcedClosed, _), permit) => {
                if permit.is_some_and(|permit| permit != Permit::Closed { epoch: self.epoch }) {
                    return (false, false);
                }
                if outcome != ReportOutcome::Ignore {
                    self.record(own, by, now, (failed, slow), reporter);
                }
                opened = self.openings > openings;
                true
            }
            _ => false,
        };
        if opened && own != by {
            self.bring(own, by);
        }
        (applied, opened)
    }

    fn record(
        &mut self,
        own: &Breaker,
        by: &Breaker,
        now: u64,
        (failed, slow): (bool, bool),
        reporter: Reporter,
    ) {
        let reporter = if self.tells { reporter } else { Reporter::UNNAMED };
        self.touched = now;
        if by.idle_us() > own.idle_us() {
            self.kept = self.kept.max(now + by.idle_us());
        }
        if own != by {
            self.name(by);
        }
        for window in &mut self.windows {
            if let Kind::Period(period_us) = window.kind {
                let current = slice(now, period_us);
                forget_far(window, current, self.tells);
                window.newest = window.newest.max(current);
            }
            let (slice, forgotten) = (window.newest, [false; 2]);
            window.results.push(Recorded { slice, failed, slow, by: reporter, forgotten });
        }
        if self.state() != CircuitState::Closed {
            return;
        }
        if failed || slow {
            let trips = self.trips(by, now);
            self.unjudged = !trips && !judges_as(own, by);
            if trips {
                self.open(by, now);
            }
        }
    }

    pub fn force(&mut self, b: &Breaker, now: u64, force: Force, until: Option<u64>) {
        self.pass(b, now);
        let next = match force {
            Force::Open => Now::Forced(CircuitState::ForcedOpen, until),
            Force::Closed => Now::Forced(CircuitState::ForcedClosed, until),
            Force::Auto if matches!(self.now, Now::Forced(..)) => Now::Closed,
            Force::Auto => return,
        };
        self.empty();
        self.enter(next, now);
    }

    pub fn reset(&mut self, b: &Breaker, now: u64) {
        self.pass(b, now);
        self.empty();
        self.enter(Now::Closed, now);
    }

    /// Another breaker is in force from now on, by an operator's word or since
    /// a policy says so.
    pub fn change(&mut self, old: &Breaker, new: &Breaker, now: u64) {
        self.pass(old, now);
        if old != new {
            let unjudged = self.unjudged || !judges_as(old, new);
            self.bring(old, new);
            self.unjudged = unjudged;
            self.pass(new, now);
        }
    }
}

/// Where results ahead of `current` are about to be forgotten: of a reporter whose last
/// failure is among them, or who is none of the eight that failed last, no earlier
/// failure is known either. The same of slow calls. Where nobody is told apart, all are
/// one, whose calls are counted.
fn forget_reporters(window: &mut Window, current: i128, tells: bool) {
    if !tells || window.newest - current <= 16 {
        return;
    }
    for what in 0..2 {
        let mut latest: Vec<Reporter> = Vec::new();
        let mut lost: HashSet<Reporter> = HashSet::new();
        let results = window.results.iter().rev();
        for r in results.filter(|r| r.is(what) && !r.forgotten[what] && r.slice > window.newest - 16) {
            if !latest.contains(&r.by) {
                latest.push(r.by);
                if latest.len() > 8 || r.slice > current + 16 {
                    lost.insert(r.by);
                }
            }
        }
        let of_them = window.results.iter_mut().filter(|r| r.is(what) && lost.contains(&r.by));
        of_them.for_each(|r| r.forgotten[what] = true);
    }
}

/// Forgets what is more than a period ahead of `current`.
fn forget_far(window: &mut Window, current: i128, tells: bool) {
    forget_reporters(window, current, tells);
    let ahead = window.newest - current;
    if ahead > 16 {
        window.results.retain(|r| r.slice > window.newest - 16 && r.slice <= current + 16);
        window.newest = if ahead >= 32 { current } else { current + 16 };
    }
}

fn slice(now: u64, period_us: u64) -> i128 {
    i128::from(now) * 16 / i128::from(period_us)
}
