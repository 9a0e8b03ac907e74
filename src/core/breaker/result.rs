//! Results of calls: which of them count, and what they change.

use super::answer::{CircuitState, ReportOutcome, Reported, Transitions};
use super::circuit::{Circuit, same};
use super::moment::Moment;
use super::permit::Permit;
use super::phase::Phase;
use super::report::Report;
use super::spec::Breaker;
use super::window::CallOutcome;
use crate::core::time::Micros;

impl Circuit {
    /// Applies the result of a call, under the breaker in force.
    pub fn report(&mut self, breaker: &Breaker, at: impl Into<Moment>, report: &Report) -> Reported {
        self.report_under(breaker, breaker, at, report)
    }

    /// Applies the result of a call for which `breaker` holds, while `in_force` is in force.
    ///
    /// `breaker` says what is slow, and is judged. It is in force from now on only if it opens. A
    /// result without a permit counts only while the circuit is closed.
    pub fn report_under(
        &mut self,
        in_force: &Breaker,
        breaker: &Breaker,
        at: impl Into<Moment>,
        report: &Report,
    ) -> Reported {
        let &Report { outcome, permit, duration_us, reporter } = report;
        let (now, mut transitions) = at.into().start();
        let mut changed = self.advance(in_force, now, &mut transitions);
        let call = match outcome {
            ReportOutcome::Ignore => None,
            ReportOutcome::Ok | ReportOutcome::Fail => Some(CallOutcome {
                failed: outcome == ReportOutcome::Fail,
                slow: breaker.is_slow(duration_us),
                reporter,
            }),
        };
        let closed = Permit::Closed { epoch: self.epoch };
        let applied = match (&mut self.phase, permit) {
            (Phase::Closed { .. } | Phase::ForcedClosed(_), permit) => {
                permit.is_none_or(|permit| permit == closed)
            }
            (Phase::HalfOpen(round), Some(Permit::Trial { epoch, trial })) => {
                epoch == self.epoch && round.remove_trial(trial)
            }
            _ => false,
        };
        let opened = if applied { self.apply(in_force, breaker, now, call, &mut transitions) } else { None };
        changed |= opened.is_some();
        let adopted = opened == Some(true);
        if adopted && !same(in_force, breaker) {
            self.adopt(in_force, breaker);
        }
        Reported { applied, state: self.state(), adopted, changed, transitions }
    }

    /// Counts a result that this state accepts; `None` is an ignored one. Returns whether `breaker`
    /// opened the circuit, or `None` if the circuit has not changed.
    fn apply(
        &mut self,
        in_force: &Breaker,
        breaker: &Breaker,
        now: Micros,
        call: Option<CallOutcome>,
        transitions: &mut Transitions,
    ) -> Option<bool> {
        match (&mut self.phase, call) {
            (Phase::HalfOpen(round), call) => {
                // An ignored trial has given its place back, and shows that a caller is still
                // there.
                if let Some(call) = call {
                    round.record(call);
                }
                self.touched = now;
                // Judge by the breaker that holds, else by the one in force, so that no certain
                // verdict is left waiting.
                let judged = self.advance_round(breaker, now, transitions);
                if !judged {
                    self.advance_round(in_force, now, transitions);
                }
                Some(judged && self.state() == CircuitState::Open)
            }
            (_, Some(call)) => {
                self.record(in_force, breaker, now, call, transitions);
                Some(self.state() == CircuitState::Open)
            }
            (_, None) => None,
        }
    }
}
