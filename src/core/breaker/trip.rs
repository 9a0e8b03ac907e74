//! Several breakers on one circuit: which of them is judged, on which results, and which is in
//! force afterwards.

use super::answer::{Cause, CircuitState, Transitions};
use super::circuit::{Circuit, same};
use super::phase::Phase;
use super::spec::{Breaker, Trip};
use super::window::{CallOutcome, ReporterTally};
use crate::core::time::Micros;

impl Circuit {
    /// Judges `breaker` before a call under it is decided, if results came in or another breaker
    /// held since it was judged last. Gives the verdict of a round that is certain under it. True
    /// if the circuit changed.
    pub(super) fn trip_if_due(
        &mut self,
        in_force: &Breaker,
        breaker: &Breaker,
        now: Micros,
        transitions: &mut Transitions,
    ) -> bool {
        let is_other = !same(in_force, breaker);
        match self.phase {
            Phase::HalfOpen(_) if is_other => self.advance_round(breaker, now, transitions),
            Phase::Closed { .. } if self.unjudged || is_other && !in_force.judges_like(breaker) => {
                // Whether `breaker` will be in force is not decided yet.
                let judged = !is_other && std::mem::take(&mut self.unjudged);
                let cause = self.tripped(breaker, now);
                if let Some(cause) = cause {
                    self.open(breaker, now, cause, transitions);
                }
                judged || cause.is_some()
            }
            _ => false,
        }
    }

    /// Records a result of a closed circuit. It may trip the breaker that holds for it. A success
    /// that is not slow never does, although it may complete `min`.
    pub(super) fn record(
        &mut self,
        in_force: &Breaker,
        breaker: &Breaker,
        now: Micros,
        call: CallOutcome,
        transitions: &mut Transitions,
    ) {
        self.touched = now;
        let is_other = !same(in_force, breaker);
        if is_other {
            self.windows.name(breaker);
            if breaker.idle_us() > in_force.idle_us() {
                self.windows.keep_until(now.plus(breaker.idle_us()));
            }
        }
        self.windows.record(now, call);
        if self.state() != CircuitState::Closed || !(call.failed || call.slow) {
            return;
        }
        if let Some(cause) = self.tripped(breaker, now) {
            self.open(breaker, now, cause, transitions);
        } else {
            self.unjudged = is_other && !in_force.judges_like(breaker);
        }
    }

    /// Puts `breaker` in force. The circuit is still kept for the `idle` of the one before, if that
    /// is longer.
    pub(super) fn adopt(&mut self, in_force: &Breaker, breaker: &Breaker) {
        self.windows.bring(breaker);
        self.unjudged = false;
        if in_force.idle_us() > breaker.idle_us() {
            self.windows.keep_until(self.touched.plus(in_force.idle_us()));
        }
    }

    /// The cause for which the window trips the breaker, if it does.
    fn tripped(&self, breaker: &Breaker, now: Micros) -> Option<Cause> {
        let tally = self.windows.tally(breaker, now);
        let enough = |of: fn(ReporterTally) -> u8| {
            breaker.reporters() <= 1 || of(self.windows.reporters(breaker, now)) >= breaker.reporters()
        };
        match breaker.trip() {
            Trip::Consecutive { failures } | Trip::Count { failures, .. } => {
                (tally.failures >= u64::from(failures) && enough(|of| of.failing)).then_some(Cause::Failures)
            }
            Trip::RatePeriod { rate, .. } | Trip::RateCalls { rate, .. } => {
                if tally.calls < u64::from(breaker.min()) {
                    None
                } else if rate.reached(tally.failures, tally.calls) && enough(|of| of.failing) {
                    Some(Cause::Failures)
                } else {
                    let slow =
                        breaker.slow_us().is_some() && breaker.slowrate().reached(tally.slow, tally.calls);
                    (slow && enough(|of| of.slow)).then_some(Cause::SlowCalls)
                }
            }
        }
    }
}
