//! A breaker that is slow and obviously right: it keeps every result of the
//! epoch in a list and counts anew each time.

use floodgate::core::breaker::{Breaker, CircuitState, Force, Permit, ReportOutcome, Trip};

/// A result as it was recorded: the sixteenth of the period that it fell in
/// (of no meaning for other trips), whether it failed, whether it was slow.
#[derive(Clone, Debug)]
struct Result {
    slice: i128,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Debug)]
enum Now {
    Closed,
    /// Since when, the sum of all shares offered in microseconds, admitted.
    Ramp(u64, u128, u128),
    Open(u64),
    /// Results so far (failed, slow), trials in flight (id, end of lease), ids
    /// given out.
    HalfOpen(Vec<(bool, bool)>, Vec<(u64, u64)>, u64),
    Forced(CircuitState, Option<u64>),
}

#[derive(Clone, Debug)]
pub struct Model {
    now: Now,
    since: u64,
    results: Vec<Result>,
    newest: i128,
    openings: u32,
    epoch: u64,
    /// States entered, in order, with the time of each.
    pub entered: Vec<(CircuitState, u64)>,
}

impl Model {
    pub fn new(now: u64, epoch: u64) -> Self {
        let entered = Vec::new();
        Self { now: Now::Closed, since: now, results: Vec::new(), newest: 0, openings: 0, epoch, entered }
    }

    pub fn state(&self) -> CircuitState {
        match self.now {
            Now::Closed | Now::Ramp(..) => CircuitState::Closed,
            Now::Open(_) => CircuitState::Open,
            Now::HalfOpen(..) => CircuitState::HalfOpen,
            Now::Forced(state, _) => state,
        }
    }

    pub fn in_flight(&self) -> usize {
        if let Now::HalfOpen(_, trials, _) = &self.now { trials.len() } else { 0 }
    }

    /// Failures and calls and slow calls that count at `now`.
    pub fn tally(&self, b: &Breaker, now: u64) -> (u64, u64, u64) {
        let kept: Vec<&Result> = match b.trip() {
            Trip::Consecutive { .. } => {
                let run = self.results.iter().rev().take_while(|r| r.failed).count() as u64;
                return (run, run, 0);
            }
            Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. } => {
                let newest = slice(now, period_us).max(self.newest);
                self.results.iter().filter(|r| r.slice > newest - 16).collect()
            }
            Trip::RateCalls { calls, .. } => self.results.iter().rev().take(calls.into()).collect(),
        };
        let count = |f: fn(&Result) -> bool| kept.iter().filter(|r| f(r)).count() as u64;
        (count(|_| true), count(|r| r.failed), count(|r| r.slow))
    }

    fn enter(&mut self, now: Now, at: u64) {
        let from = self.state();
        self.now = now;
        self.since = at;
        self.epoch = (self.epoch + 1).max(at);
        if self.state() != from {
            self.entered.push((self.state(), at));
        }
    }

    fn empty(&mut self) {
        self.results.clear();
        self.newest = 0;
        self.openings = 0;
    }

    fn open(&mut self, b: &Breaker, at: u64) {
        self.openings += 1;
        let mut length = u128::from(b.open_us());
        for _ in 1..self.openings {
            length = (length * u128::from(b.backoff_hundredths()) / 100).min(u128::from(b.maxopen_us()));
        }
        self.enter(Now::Open(at + u64::try_from(length).unwrap()), at);
    }

    /// What time has done by itself.
    pub fn pass(&mut self, b: &Breaker, now: u64) {
        // Nothing lasts longer because the clock stepped back.
        let step = self.since.saturating_sub(now);
        let lease = now + b.lease_us();
        match &mut self.now {
            Now::Closed => {}
            Now::Ramp(since, ..) => {
                *since -= step;
                self.since -= step;
            }
            Now::Open(deadline) => {
                *deadline -= step;
                self.since -= step;
            }
            Now::HalfOpen(_, trials, _) => {
                for trial in trials.iter_mut() {
                    trial.1 = trial.1.min(lease);
                }
                self.since -= step;
            }
            Now::Forced(_, until) => {
                *until = until.map(|until| until - step);
                self.since -= step;
            }
        }
        if let Now::Forced(_, Some(until)) = self.now
            && until <= now
        {
            self.empty();
            self.enter(Now::Closed, until);
        }
        self.judge(b, now);
        while let Now::HalfOpen(results, trials, _) = &mut self.now {
            trials.sort_by_key(|&(id, end)| (end, id));
            let Some(&(_, end)) = trials.first().filter(|&&(_, end)| end <= now) else { break };
            trials.remove(0);
            results.push((true, false));
            self.judge(b, end);
        }
        if let Now::Ramp(since, ..) = self.now
            && now - since >= b.ramp_us()
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
                let ramp = Now::Ramp(at, 0, 0);
                self.enter(if b.ramp_us() > 0 { ramp } else { Now::Closed }, at);
            }
        }
    }

    /// Allowed, with which ticket, and else how long to wait (`None` for ever).
    pub fn acquire(&mut self, b: &Breaker, now: u64) -> (Option<Permit>, Option<u64>) {
        self.pass(b, now);
        if let Now::Open(deadline) = self.now
            && deadline <= now
        {
            self.enter(Now::HalfOpen(Vec::new(), Vec::new(), 0), now);
        }
        let closed = Permit::Closed { epoch: self.epoch };
        match &mut self.now {
            Now::Closed | Now::Forced(CircuitState::ForcedClosed, _) => (Some(closed), Some(0)),
            Now::Ramp(since, shares, admitted) => {
                *shares += u128::from(now - *since);
                let ramp = u128::from(b.ramp_us());
                let due = (*shares * 2 + ramp) / (2 * ramp);
                if due > *admitted {
                    *admitted += 1;
                    (Some(closed), Some(0))
                } else {
                    (None, Some(1000))
                }
            }
            Now::Open(deadline) => (None, Some(*deadline - now)),
            Now::HalfOpen(results, trials, given) => {
                if results.len() + trials.len() < usize::from(b.probes()) {
                    *given += 1;
                    trials.push((*given, now + b.lease_us()));
                    (Some(Permit::Trial { epoch: self.epoch, trial: *given }), Some(0))
                } else {
                    (None, Some(trials.iter().map(|t| t.1).min().unwrap() - now))
                }
            }
            Now::Forced(_, until) => (None, until.map(|until| until - now)),
        }
    }

    /// Whether the result applies.
    pub fn report(
        &mut self,
        b: &Breaker,
        now: u64,
        outcome: ReportOutcome,
        ticket: Option<Permit>,
        took_us: Option<u64>,
    ) -> bool {
        self.pass(b, now);
        let failed = outcome == ReportOutcome::Fail;
        let slow = b.slow_us().is_some_and(|limit| took_us.is_some_and(|took| took > limit));
        match (&mut self.now, ticket) {
            (Now::HalfOpen(results, trials, _), Some(Permit::Trial { epoch, trial })) => {
                let at = trials.iter().position(|t| t.0 == trial);
                let Some(at) = at.filter(|_| epoch == self.epoch) else { return false };
                trials.remove(at);
                if outcome != ReportOutcome::Ignore {
                    results.push((failed, slow));
                }
                self.judge(b, now);
                true
            }
            (Now::Closed | Now::Ramp(..) | Now::Forced(CircuitState::ForcedClosed, _), ticket) => {
                if ticket.is_some_and(|ticket| ticket != Permit::Closed { epoch: self.epoch }) {
                    return false;
                }
                if outcome != ReportOutcome::Ignore {
                    self.record(b, now, failed, slow);
                }
                true
            }
            _ => false,
        }
    }

    fn record(&mut self, b: &Breaker, now: u64, failed: bool, slow: bool) {
        if let Trip::Count { period_us, .. } | Trip::RatePeriod { period_us, .. } = b.trip() {
            let current = slice(now, period_us);
            if self.newest - current > 16 {
                let step = self.newest - current;
                self.results.iter_mut().for_each(|r| r.slice -= step);
                self.newest = current;
            }
            self.newest = self.newest.max(current);
        }
        self.results.push(Result { slice: self.newest, failed, slow });
        if !(failed || slow) || self.state() != CircuitState::Closed {
            return;
        }
        let (calls, failures, slow) = self.tally(b, now);
        let enough = |part: u64, hundredths: u16| part * 10_000 >= u64::from(hundredths) * calls;
        let trips = match b.trip() {
            Trip::Consecutive { failures: n } | Trip::Count { failures: n, .. } => failures >= u64::from(n),
            Trip::RatePeriod { rate, .. } | Trip::RateCalls { rate, .. } => {
                calls >= u64::from(b.min())
                    && (enough(failures, rate.hundredths())
                        || b.slow_us().is_some() && enough(slow, b.slowrate().hundredths()))
            }
        };
        if trips {
            self.open(b, now);
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

    pub fn change(&mut self, old: &Breaker, new: &Breaker, now: u64) {
        self.pass(old, now);
        if old == new {
            return;
        }
        if old.trip() != new.trip() {
            self.results.clear();
            self.newest = 0;
        } else if old.slow_us().is_some() != new.slow_us().is_some() {
            self.results.iter_mut().for_each(|r| r.slow = false);
        }
        if let Now::Ramp(_, shares, admitted) = &mut self.now
            && old.ramp_us() != new.ramp_us()
        {
            (*shares, *admitted) = (0, 0);
        }
        self.pass(new, now);
    }
}

fn slice(now: u64, period_us: u64) -> i128 {
    i128::from(now) * 16 / i128::from(period_us)
}
