//! One half-open round: the trial calls in flight, the results so far, and the
//! verdict.

use super::answer::Cause;
use super::reporter::Reporter;
use super::spec::Breaker;
use crate::core::breaker::window::CallOutcome;
use crate::core::time::Micros;

/// The highest number of a trial: out of reach but for a forged payload, which
/// must make neither a round that the encoding refuses nor one that is stuck.
pub(super) const MAX_TRIAL: u64 = 1 << 53;

/// A trial call that has not been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// Its number in the round, from 1; given out once, unless all are (`MAX_TRIAL`).
    pub id: u64,
    /// When it began.
    pub began: Micros,
    /// So long after it counts as lost.
    pub lease_us: u64,
}

impl Trial {
    /// When it counts as lost.
    pub const fn lease_ends(&self) -> Micros {
        self.began.plus(self.lease_us)
    }
}

/// What the trials of a round have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works again.
    Close,
    /// It does not.
    Open(Cause),
}

/// The trials of one half-open round.
///
/// At most `probes` trials are admitted in all; one that is ignored gives its
/// place back, one that is lost does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Trials with a result, lost ones included.
    pub done: u8,
    /// How many of those failed or were lost.
    pub failures: u8,
    /// How many of those were slow.
    pub slow: u8,
    /// Trials admitted so far, whatever became of them.
    pub admitted: u64,
    /// In the order in which they were admitted.
    pub in_flight: Vec<Trial>,
}

impl Round {
    /// Admits one more trial, unless all of the round have been.
    pub fn admit(&mut self, breaker: &Breaker, now: Micros) -> Option<u64> {
        if !self.has_room(breaker) {
            return None;
        }
        if self.admitted >= MAX_TRIAL {
            self.admitted = 0;
        }
        self.admitted = self.admitted.saturating_add(1);
        let trial = Trial { id: self.admitted, began: now, lease_us: breaker.lease_us() };
        self.in_flight.push(trial);
        Some(trial.id)
    }

    /// Whether another trial would be admitted.
    pub fn has_room(&self, breaker: &Breaker) -> bool {
        usize::from(self.done).saturating_add(self.in_flight.len()) < usize::from(breaker.probes())
            // Numbers begin anew only where none of them is in flight.
            && (self.admitted < MAX_TRIAL || self.in_flight.is_empty())
    }

    /// Takes trial `id` out of those in flight; false when it is not there:
    /// unknown, lost or reported before.
    pub fn take(&mut self, id: u64) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|trial| trial.id != id);
        self.in_flight.len() < before
    }

    /// Counts the result of a trial that was taken out.
    pub fn count(&mut self, call: CallOutcome) {
        self.done = self.done.saturating_add(1);
        self.failures = self.failures.saturating_add(call.failed.into());
        self.slow = self.slow.saturating_add(call.slow.into());
    }

    /// After the clock stepped back: a trial that began after `now` began now.
    /// True when that changed something.
    pub fn rewind(&mut self, now: Micros) -> bool {
        let mut changed = false;
        for trial in &mut self.in_flight {
            changed |= trial.began > now;
            trial.began = trial.began.min(now);
        }
        changed
    }

    /// The end of the lease that ends first.
    pub fn earliest_lease(&self) -> Option<Micros> {
        self.in_flight.iter().map(Trial::lease_ends).min()
    }

    /// The end of the lease that ends last.
    pub fn latest_lease(&self) -> Option<Micros> {
        self.in_flight.iter().map(Trial::lease_ends).max()
    }

    /// Bytes on the heap besides itself.
    pub fn heap_bytes(&self) -> usize {
        self.in_flight.capacity() * size_of::<Trial>()
    }

    /// Counts the first trial whose lease has ended at `now` as failed, and
    /// says when it ended.
    pub fn lose_one(&mut self, now: Micros) -> Option<Micros> {
        let lost = self.in_flight.iter().min_by_key(|trial| (trial.lease_ends(), trial.id)).copied()?;
        if lost.lease_ends() > now || !self.take(lost.id) {
            return None;
        }
        self.count(CallOutcome { failed: true, slow: false, reporter: Reporter::UNNAMED });
        Some(lost.lease_ends())
    }

    /// The verdict, as soon as no result to come could change it.
    ///
    /// Rate trips judge the rate of failures, and of slow calls, over the whole
    /// round; for the others any failure opens. When every trial has a result
    /// there is always a verdict, so a round without one has a trial in flight
    /// or room for one: it cannot get stuck.
    pub fn verdict(&self, breaker: &Breaker) -> Option<Verdict> {
        // `probes` may have been lowered below the results that are in.
        let trials = u64::from(breaker.probes().max(self.done));
        let to_come = trials - u64::from(self.done);
        let (failures, slow) = (u64::from(self.failures), u64::from(self.slow));
        let Some(rate) = breaker.trip().rate() else {
            return if failures > 0 {
                Some(Verdict::Open(Cause::TrialsFailed))
            } else {
                (to_come == 0).then_some(Verdict::Close)
            };
        };
        let judges_slow = breaker.slow_us().is_some();
        let slowrate = breaker.slowrate();
        if rate.reached(failures, trials) {
            Some(Verdict::Open(Cause::TrialsFailed))
        } else if judges_slow && slowrate.reached(slow, trials) {
            Some(Verdict::Open(Cause::TrialsSlow))
        } else if rate.reached(failures + to_come, trials)
            || judges_slow && slowrate.reached(slow + to_come, trials)
        {
            None
        } else {
            Some(Verdict::Close)
        }
    }
}
