//! What time alone does to a circuit: a clock that stepped back, a force or a ramp that is over,
//! trials that were lost, the verdict of a round.

use super::answer::{Cause, CircuitState, Transitions};
use super::circuit::Circuit;
use super::phase::Phase;
use super::round::Verdict;
use super::spec::Breaker;
use crate::core::time::Micros;

impl Circuit {
    /// Does what time alone has done up to `now`. True if the circuit changed.
    ///
    /// Afterwards `now` is within the state: not before its start, and not after the end of its
    /// force, ramp or any lease. An opening past its deadline stays open, because only a call ends
    /// it.
    pub(super) fn advance(&mut self, breaker: &Breaker, now: Micros, transitions: &mut Transitions) -> bool {
        if self.touched <= now && matches!(self.phase, Phase::Closed { ramp: None }) {
            return false;
        }
        let mut changed = self.step_back(now);
        if let Some(until) = self.hold().and_then(|hold| hold.until)
            && now >= until
        {
            self.start_afresh();
            self.enter(Phase::Closed { ramp: None }, until, Cause::ForceEnded, transitions);
            transitions.last_was_by_time();
            changed = true;
        }
        changed |= self.advance_round(breaker, now, transitions);
        if let Phase::Closed { ramp: Some(ramp) } = &self.phase
            && now.since(self.since) >= ramp.length_us
        {
            self.phase = Phase::Closed { ramp: None };
            changed = true;
        }
        changed
    }

    /// True if time has ended a force or a lease, and nothing has found that yet. The epoch that
    /// begins with it begins in the past.
    pub fn is_late(&self, now: Micros) -> bool {
        self.next_end().is_some_and(|end| end <= now)
    }

    /// The end of the force, or of the first lease.
    pub(super) fn next_end(&self) -> Option<Micros> {
        match &self.phase {
            Phase::HalfOpen(round) => round.earliest_lease(),
            _ => self.hold().and_then(|hold| hold.until),
        }
    }

    /// Corrects the circuit after the clock stepped back. True if that changed anything.
    ///
    /// What began after `now` counts as begun now, so that nothing lasts longer than it should.
    /// Results that lie more than a period ahead are forgotten.
    pub fn step_back(&mut self, now: Micros) -> bool {
        let now = now.min(Micros::MAX);
        // In a closed state, only a ramp is measured from the start.
        let lasts = !matches!(self.phase, Phase::Closed { ramp: None });
        let step = if lasts { self.since.since(now) } else { 0 };
        self.since = self.since.minus(step);
        let mut changed = step > 0;
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::Open { deadline } => *deadline = deadline.minus(step),
            Phase::HalfOpen(round) => changed |= round.rewind(now),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => {
                hold.until = hold.until.map(|until| until.minus(step));
            }
        }
        let step = self.touched.since(now);
        if step > 0 {
            self.touched = now;
            self.windows.rewind(now, step);
            changed = true;
        }
        changed
    }

    /// The state at `now`, with all that time alone has done. A circuit past its deadline is still
    /// open.
    pub fn state_at(&self, breaker: &Breaker, now: Micros) -> CircuitState {
        let mut circuit = self.clone();
        circuit.advance(breaker, now.min(Micros::MAX), &mut Transitions::default());
        circuit.state()
    }

    /// Loses the trials whose leases have ended, in that order, until there is a verdict. Then
    /// carries it out as of the moment that decided it.
    pub(super) fn advance_round(
        &mut self,
        breaker: &Breaker,
        now: Micros,
        transitions: &mut Transitions,
    ) -> bool {
        let mut lost = None;
        while let Phase::HalfOpen(round) = &mut self.phase {
            if let Some(verdict) = round.verdict(breaker) {
                let at = lost.unwrap_or(now);
                match verdict {
                    Verdict::Close => self.close(breaker, at, transitions),
                    Verdict::Open(cause) => {
                        self.open(breaker, at, lost.map_or(cause, |_| Cause::TrialLost), transitions);
                    }
                }
                if lost.is_some() {
                    transitions.last_was_by_time();
                }
                return true;
            }
            match round.lose_one(now) {
                Some(ended) => {
                    transitions.lose_trial();
                    lost = Some(ended);
                }
                None => break,
            }
        }
        lost.is_some()
    }
}
