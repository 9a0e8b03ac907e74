//! One half-open round: the trial calls in flight, the results so far, and the verdict.

use super::answer::Cause;
use super::report::Reporter;
use super::spec::Breaker;
use crate::core::breaker::window::CallOutcome;
use crate::core::time::Micros;

/// The highest number of a trial. No real circuit reaches it. A forged payload may; then the round
/// must still be encodable and still come to an end.
pub(super) const MAX_TRIAL: u64 = 1 << 53;

/// A trial call that has not been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// The number in the round, counted from 1. It is given out once, until all numbers are used up
    /// (`MAX_TRIAL`).
    pub id: u64,
    /// When the trial began.
    pub began: Micros,
    /// The time in microseconds after which the trial counts as lost.
    pub lease_us: u64,
}

impl Trial {
    /// The moment from which the trial counts as lost.
    pub const fn lease_ends(&self) -> Micros {
        self.began.plus(self.lease_us)
    }
}

/// The verdict that the trials of a round have led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The other side works again.
    Close,
    /// The other side does not work.
    Open(Cause),
}

/// The trials of one half-open round.
///
/// At most `probes` trials are admitted in all. One that is ignored gives its place back; one that
/// is lost does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// The number of trials with a result, lost ones included.
    pub done: u8,
    /// The number of trials that failed or were lost.
    pub failures: u8,
    /// The number of trials that were slow.
    pub slow: u8,
    /// The number of trials admitted so far, also those that were ignored.
    pub admitted: u64,
    /// The trials without a result, in the order in which they were admitted.
    pub in_flight: Vec<Trial>,
}

impl Round {
    /// Admits one more trial and returns its number. `None` if the round has no room.
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

    /// True if another trial would be admitted.
    pub fn has_room(&self, breaker: &Breaker) -> bool {
        usize::from(self.done).saturating_add(self.in_flight.len()) < usize::from(breaker.probes())
            // The numbers start again at 1 only when no trial is in flight.
            && (self.admitted < MAX_TRIAL || self.in_flight.is_empty())
    }

    /// Removes trial `id` from those in flight. False if it is not there: it is unknown, lost, or
    /// was reported before.
    pub fn remove_trial(&mut self, id: u64) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|trial| trial.id != id);
        self.in_flight.len() < before
    }

    /// Counts the result of a trial that was removed.
    pub fn record(&mut self, call: CallOutcome) {
        self.done = self.done.saturating_add(1);
        self.failures = self.failures.saturating_add(call.failed.into());
        self.slow = self.slow.saturating_add(call.slow.into());
    }

    /// Corrects the trials after the clock stepped back: one that began after `now` counts as begun
    /// now. True if that changed something.
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

    /// Bytes on the heap, without the round itself.
    pub fn heap_bytes(&self) -> usize {
        self.in_flight.capacity() * size_of::<Trial>()
    }

    /// Counts the first trial whose lease has ended at `now` as failed. Returns the end of that
    /// lease.
    pub fn lose_one(&mut self, now: Micros) -> Option<Micros> {
        let lost = self.in_flight.iter().min_by_key(|trial| (trial.lease_ends(), trial.id)).copied()?;
        if lost.lease_ends() > now || !self.remove_trial(lost.id) {
            return None;
        }
        self.record(CallOutcome { failed: true, slow: false, reporter: Reporter::UNNAMED });
        Some(lost.lease_ends())
    }

    /// The verdict, as soon as no result to come could change it.
    ///
    /// A trip with a rate judges the rate of failures, and of slow calls, over the whole round.
    /// With any other trip one failure opens. When every trial has a result there is always a
    /// verdict. So a round without a verdict has a trial in flight or room for one, and cannot get
    /// stuck.
    pub fn verdict(&self, breaker: &Breaker) -> Option<Verdict> {
        // `probes` may have been set below the number of results that are in.
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
