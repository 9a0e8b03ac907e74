//! Decisions: whether a call may go through.

use super::answer::{Admission, Cause, CircuitState, Transitions};
use super::circuit::{Circuit, same};
use super::moment::Moment;
use super::permit::Permit;
use super::phase::Phase;
use super::ramp::Ramp;
use super::spec::Breaker;
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::MILLISECOND;
use crate::core::time::Micros;

impl Circuit {
    /// Decides whether a call may go through, under the breaker in force.
    ///
    /// ```
    /// use floodgate::core::breaker::{Breaker, Circuit, CircuitState, Report, ReportOutcome};
    /// use floodgate::core::time::Micros;
    ///
    /// let breaker = Breaker::parse(b"1:open=10s").unwrap();
    /// let mut circuit = Circuit::new(&breaker, Micros(0), 1);
    /// let permit = circuit.acquire(&breaker, Micros(0)).permit;
    /// circuit.report(&breaker, Micros(0), &Report::new(ReportOutcome::Fail, permit, None));
    /// assert!(!circuit.acquire(&breaker, Micros(9_999_999)).allowed);
    ///
    /// // At the deadline the next call is the first trial.
    /// let trial = circuit.acquire(&breaker, Micros(10_000_000));
    /// assert_eq!((trial.allowed, trial.state), (true, CircuitState::HalfOpen));
    /// ```
    pub fn acquire(&mut self, breaker: &Breaker, at: impl Into<Moment>) -> Admission {
        let at = at.into();
        let now = at.now.min(Micros::MAX);
        self.at_rest(now).unwrap_or_else(|| self.acquire_under(breaker, breaker, at))
    }

    /// Decides whether a call that brings `breaker` may go through, while `in_force` is in force.
    ///
    /// If `breaker` judges differently, it is judged first, on what its window holds, and may open.
    /// It is in force from now on if it admits the call or opened. Any other denied call leaves the
    /// breaker that was in force.
    pub fn acquire_under(
        &mut self,
        in_force: &Breaker,
        breaker: &Breaker,
        at: impl Into<Moment>,
    ) -> Admission {
        let (now, mut transitions) = at.into().start();
        let mut changed = self.advance(in_force, now, &mut transitions);
        let epoch = self.epoch;
        changed |= self.trip_if_due(in_force, breaker, now, &mut transitions);
        let opened = self.epoch != epoch && self.state() == CircuitState::Open;
        if matches!(self.phase, Phase::Open { deadline } if now >= deadline) {
            self.enter(Phase::HalfOpen(Box::default()), now, Cause::DeadlinePassed, &mut transitions);
            changed = true;
        }
        let (permit, retry, took) = self.admit(breaker, now);
        changed |= took;
        let allowed = permit.is_some();
        let adopted = allowed || opened;
        if !same(in_force, breaker) {
            changed |= adopted;
            if adopted {
                self.adopt(in_force, breaker);
            } else {
                changed |= self.windows.name_if_room(breaker);
            }
        }
        Admission { allowed, state: self.state(), permit, retry, adopted, changed, transitions }
    }

    /// Returns the permit of a call in this state, else when to ask again, and whether the circuit
    /// changed.
    fn admit(&mut self, breaker: &Breaker, now: Micros) -> (Option<Permit>, RetryAfter, bool) {
        let epoch = self.epoch;
        match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::ForcedClosed(_) => {
                (Some(Permit::Closed { epoch }), RetryAfter::Now, false)
            }
            Phase::Closed { ramp: Some(ramp) } => {
                let before = Ramp::clone(ramp);
                let admits = ramp.admits(breaker, now.since(self.since));
                let took = **ramp != before;
                if admits {
                    (Some(Permit::Closed { epoch }), RetryAfter::Now, took)
                } else {
                    (None, RetryAfter::After(MILLISECOND), took)
                }
            }
            Phase::Open { deadline } => (None, RetryAfter::until(*deadline, now), false),
            Phase::HalfOpen(round) => {
                if let Some(trial) = round.admit(breaker, now) {
                    return (Some(Permit::Trial { epoch, trial }), RetryAfter::Now, true);
                }
                // Without room and without a verdict some trial is in flight, so there is a lease
                // that ends.
                let end = round.earliest_lease();
                (None, end.map_or(RetryAfter::Now, |end| RetryAfter::until(end, now)), false)
            }
            Phase::ForcedOpen(hold) => {
                let retry = hold.until.map_or(RetryAfter::Never, |until| RetryAfter::until(until, now));
                (None, retry, false)
            }
        }
    }

    /// Returns the answer that [`Circuit::acquire`] would give, without changing the circuit. The
    /// caller needs it if something else can deny the call, too.
    pub fn peek_acquire(&self, breaker: &Breaker, now: Micros) -> Admission {
        self.at_rest(now.min(Micros::MAX)).unwrap_or_else(|| self.clone().acquire(breaker, now))
    }

    /// Returns the answer that [`Circuit::acquire_under`] would give, without changing the circuit.
    pub fn peek_acquire_under(&self, in_force: &Breaker, breaker: &Breaker, now: Micros) -> Admission {
        self.clone().acquire_under(in_force, breaker, now)
    }

    /// Returns the answer of [`Circuit::acquire`] if neither time nor the call changes the circuit.
    /// This common case needs no write. `None` if something may change.
    #[inline]
    pub fn at_rest(&self, now: Micros) -> Option<Admission> {
        let (permit, retry) = match &self.phase {
            // The step of the clock must be recorded.
            _ if self.touched > now => return None,
            Phase::Closed { ramp: None } if !self.unjudged => {
                (Some(Permit::Closed { epoch: self.epoch }), RetryAfter::Now)
            }
            Phase::Open { deadline } if self.since <= now && now < *deadline => {
                (None, RetryAfter::until(*deadline, now))
            }
            _ => return None,
        };
        Some(Admission {
            allowed: permit.is_some(),
            state: self.state(),
            permit,
            retry,
            adopted: permit.is_some(),
            changed: false,
            transitions: Transitions::default(),
        })
    }
}
