//! The state machine of one circuit.
//!
//! Time does nothing on its own. Every entry point first settles what time has
//! done since the last one (a force that ended, a trial that was lost, a ramp
//! that is over, a clock that stepped back), then does its own part. So no
//! timer is needed, and all of it is a function of (circuit, breaker, now,
//! arguments): a replica repeats the call. An entry point that answers
//! `changed: false` has touched nothing.
//!
//! ```text
//!            trip                    deadline, next acquire
//!   closed ────────▶ open ──────────────────────────────▶ half-open
//!     ▲               ▲        bad verdict, lost trial        │
//!     │               └───────────────────────────────────────┤
//!     └───────────────────────────────────────────────────────┘
//!                           good verdict
//! ```
//!
//! A force leaves from anywhere and ends in closed, with an empty window.

use super::answer::{Admission, Cause, Reported, Transition, Transitions};
use super::round::{Round, Verdict};
use super::spec::{Breaker, Trip};
use crate::core::breaker::answer::{CircuitState, ReportOutcome, StateTransition};
use crate::core::breaker::permit::Permit;
use crate::core::breaker::window::{CallOutcome, CallWindow};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::{LONGEST, MILLISECOND};
use crate::core::time::Micros;

/// The longest reason of a force that is kept, in bytes; the rest is cut.
pub const REASON_BYTES: usize = 256;

/// No epoch is above this: the latest time, and room to count up from it.
pub(super) const MAX_EPOCH: u64 = 1 << 53;

/// What an operator may force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Force {
    /// Deny every call.
    Open,
    /// Admit every call.
    Closed,
    /// End the force.
    Auto,
}

/// A force in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForcedState {
    /// When it ends; `None` for an operator's word only.
    pub until: Option<Micros>,
    /// The operator's reason.
    pub reason: Box<[u8]>,
}

/// A state with what belongs to it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed {
        /// While a ramp lasts (it began with the state): the share of a call
        /// that has been offered and not admitted, in microseconds of the ramp.
        ramp: Option<u64>,
    },
    Open {
        /// From here on a call is a trial.
        deadline: Micros,
    },
    HalfOpen(Box<Round>),
    ForcedOpen(Box<ForcedState>),
    ForcedClosed(Box<ForcedState>),
}

impl Phase {
    pub(super) const fn state(&self) -> CircuitState {
        match self {
            Self::Closed { .. } => CircuitState::Closed,
            Self::Open { .. } => CircuitState::Open,
            Self::HalfOpen(_) => CircuitState::HalfOpen,
            Self::ForcedOpen(_) => CircuitState::ForcedOpen,
            Self::ForcedClosed(_) => CircuitState::ForcedClosed,
        }
    }
}

/// The state of one key. Always used with the breaker that it was made for, or
/// last changed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Rises with every transition, force and reset; results name it.
    pub(super) epoch: u64,
    /// When the state began.
    pub(super) since: Micros,
    /// The last sign of life: a result that was applied, or a new epoch.
    pub(super) touched: Micros,
    /// Openings since the circuit was last closed.
    pub(super) openings: u32,
    pub(super) phase: Phase,
    /// What a closed circuit goes by. Left as it was while open, so that
    /// people see why it opened; emptied when it closes.
    pub(super) window: CallWindow,
}

impl Circuit {
    /// A closed circuit without results. Its epoch is the time in microseconds
    /// or `first_epoch`, whichever is later, and each following one is the time
    /// or one more. So epochs do not repeat after a key was deleted, as long as
    /// the clock goes on; a caller that also wants that within one microsecond
    /// passes one more than the last epoch that it saw anywhere.
    pub fn new(breaker: &Breaker, now: Micros, first_epoch: u64) -> Self {
        let now = now.min(Micros::MAX);
        Self {
            epoch: now.0.max(first_epoch.min(MAX_EPOCH)),
            since: now,
            touched: now,
            openings: 0,
            phase: Phase::Closed { ramp: None },
            window: CallWindow::new(breaker),
        }
    }

    /// When the state began, as of the last change.
    pub const fn since(&self) -> Micros {
        self.since
    }

    /// The epoch.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The state as of the last change; [`Circuit::view`] knows what time has
    /// done since.
    pub const fn state(&self) -> CircuitState {
        self.phase.state()
    }

    /// A call wants to go through.
    ///
    /// ```
    /// use floodgate::core::breaker::{Breaker, Circuit, CircuitState, ReportOutcome};
    /// use floodgate::core::time::Micros;
    ///
    /// let breaker = Breaker::parse(b"1:open=10s").unwrap();
    /// let mut circuit = Circuit::new(&breaker, Micros(0), 1);
    /// let permit = circuit.acquire(&breaker, Micros(0)).ticket;
    /// circuit.report(&breaker, Micros(0), ReportOutcome::Fail, permit, None);
    /// assert!(!circuit.acquire(&breaker, Micros(9_999_999)).allowed);
    ///
    /// // At the deadline the next call is the first trial.
    /// let trial = circuit.acquire(&breaker, Micros(10_000_000));
    /// assert_eq!((trial.allowed, trial.state), (true, CircuitState::HalfOpen));
    /// ```
    pub fn acquire(&mut self, breaker: &Breaker, now: Micros) -> Admission {
        let now = now.min(Micros::MAX);
        if let Some(admission) = self.at_rest(now) {
            return admission;
        }
        let mut transitions = Transitions::default();
        let mut changed = self.settle(breaker, now, &mut transitions);
        if matches!(self.phase, Phase::Open { deadline } if now >= deadline) {
            self.enter(Phase::HalfOpen(Box::default()), now, Cause::DeadlinePassed, &mut transitions);
            changed = true;
        }
        let epoch = self.epoch;
        let (ticket, retry) = match &mut self.phase {
            Phase::Closed { ramp: None } | Phase::ForcedClosed(_) => {
                (Some(Permit::Closed { epoch }), RetryAfter::Now)
            }
            Phase::Closed { ramp: Some(credit) } => {
                let before = *credit;
                let admits = ramp_admits(credit, now.since(self.since), breaker.ramp_us());
                changed |= *credit != before;
                if admits {
                    (Some(Permit::Closed { epoch }), RetryAfter::Now)
                } else {
                    (None, RetryAfter::After(MILLISECOND))
                }
            }
            Phase::Open { deadline } => (None, RetryAfter::until(*deadline, now)),
            Phase::HalfOpen(round) => match round.admit(breaker, now) {
                Some(trial) => {
                    changed = true;
                    (Some(Permit::Trial { epoch, trial }), RetryAfter::Now)
                }
                // Without room and without a verdict there is a trial in
                // flight, so there is a lease to wait for.
                None => {
                    (None, round.earliest_lease().map_or(RetryAfter::Now, |end| RetryAfter::until(end, now)))
                }
            },
            Phase::ForcedOpen(hold) => {
                (None, hold.until.map_or(RetryAfter::Never, |until| RetryAfter::until(until, now)))
            }
        };
        Admission { allowed: ticket.is_some(), state: self.state(), ticket, retry, changed, transitions }
    }

    /// What [`Circuit::acquire`] would answer, without doing it: for calls on
    /// which something else has a say as well.
    pub fn peek_acquire(&self, breaker: &Breaker, now: Micros) -> Admission {
        self.at_rest(now.min(Micros::MAX)).unwrap_or_else(|| self.clone().acquire(breaker, now))
    }

    /// A call has a result. `ticket` is what its acquire gave; without one it
    /// counts only while the circuit is closed.
    pub fn report(
        &mut self,
        breaker: &Breaker,
        now: Micros,
        outcome: ReportOutcome,
        ticket: Option<Permit>,
        duration_us: Option<u64>,
    ) -> Reported {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        let mut changed = self.settle(breaker, now, &mut transitions);
        let call = match outcome {
            ReportOutcome::Ignore => None,
            ReportOutcome::Ok | ReportOutcome::Fail => Some(CallOutcome {
                failed: outcome == ReportOutcome::Fail,
                slow: breaker.is_slow(duration_us),
            }),
        };
        let closed = Permit::Closed { epoch: self.epoch };
        let applied = match (&mut self.phase, ticket) {
            (Phase::Closed { .. } | Phase::ForcedClosed(_), ticket) => {
                ticket.is_none_or(|ticket| ticket == closed)
            }
            (Phase::HalfOpen(round), Some(Permit::Trial { epoch, trial })) => {
                epoch == self.epoch && round.take(trial)
            }
            _ => false,
        };
        if applied {
            changed |= self.apply(breaker, now, call, &mut transitions);
        }
        Reported { applied, state: self.state(), changed, transitions }
    }

    /// An operator forces a state, until `until` or for good. [`Force::Auto`]
    /// ends a force; without one it does nothing.
    pub fn force(
        &mut self,
        breaker: &Breaker,
        now: Micros,
        force: Force,
        until: Option<Micros>,
        reason: &[u8],
    ) -> StateTransition {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        let settled = self.settle(breaker, now, &mut transitions);
        let hold = || {
            let until = until.map(|until| until.clamp(now, now.plus(LONGEST)));
            Box::new(ForcedState { until, reason: reason.get(..REASON_BYTES).unwrap_or(reason).into() })
        };
        let phase = match force {
            Force::Open => Some(Phase::ForcedOpen(hold())),
            Force::Closed => Some(Phase::ForcedClosed(hold())),
            Force::Auto => self.hold().is_some().then_some(Phase::Closed { ramp: None }),
        };
        let changed = settled || phase.is_some();
        if let Some(phase) = phase {
            self.start_afresh();
            self.enter(phase, now, Cause::Forced, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// An operator resets the circuit: closed, with an empty window, no force.
    pub fn reset(&mut self, breaker: &Breaker, now: Micros) -> StateTransition {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        self.settle(breaker, now, &mut transitions);
        self.start_afresh();
        self.enter(Phase::Closed { ramp: None }, now, Cause::Reset, &mut transitions);
        StateTransition { state: self.state(), changed: true, transitions }
    }

    /// From now on the circuit is used with `new` instead of `old`. It keeps
    /// its epoch, state and deadline, and its window when the trip is the same.
    ///
    /// A half-open round goes on with its trials. Where `new` makes their
    /// verdict certain it is given now.
    pub fn change_breaker(&mut self, old: &Breaker, new: &Breaker, now: Micros) -> StateTransition {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        let mut changed = self.settle(old, now, &mut transitions);
        if old != new {
            changed = true;
            if old.trip() == new.trip() {
                self.window.fit(new);
            } else {
                self.window = CallWindow::new(new);
            }
            if let Phase::Closed { ramp: Some(credit) } = &mut self.phase
                && old.ramp_us() != new.ramp_us()
            {
                *credit = new.ramp_us() / 2;
            }
            self.settle(new, now, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// When the circuit may be forgotten; `None` for never.
    ///
    /// That is `idle` after its last result, but not while forgetting it would
    /// let calls through that it denies: an opening is remembered until a trial
    /// had the time to begin, and a trial until the opening that its loss would
    /// cause.
    pub fn expires_at(&self, breaker: &Breaker, now: Micros) -> Option<Micros> {
        let idle = self.touched.min(now).plus(breaker.idle_us());
        let needed = match &self.phase {
            Phase::Closed { ramp: None } => Micros(0),
            Phase::Closed { ramp: Some(_) } => self.since.plus(breaker.ramp_us()),
            Phase::Open { deadline } => deadline.plus(breaker.lease_us()),
            Phase::HalfOpen(round) => round.latest_lease().map_or(Micros(0), |end| {
                let reopened = breaker.open_time_us(self.openings.saturating_add(1));
                end.plus(reopened).plus(breaker.lease_us())
            }),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => hold.until?,
        };
        Some(idle.max(needed))
    }

    /// What a report most likely needs outside of it.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        self.window.prefetch_hint()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Closed { .. } | Phase::Open { .. } => 0,
            Phase::HalfOpen(round) => size_of::<Round>() + round.heap_bytes(),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => {
                size_of::<ForcedState>() + hold.reason.len()
            }
        };
        phase + self.window.heap_bytes()
    }

    /// The force in effect.
    pub(super) fn hold(&self) -> Option<&ForcedState> {
        match &self.phase {
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => Some(hold),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen(_) => None,
        }
    }

    /// What [`Circuit::acquire`] answers where neither time nor the call changes
    /// anything: the common case, without a write. `None` where they may.
    #[inline]
    pub fn at_rest(&self, now: Micros) -> Option<Admission> {
        let (ticket, retry) = match &self.phase {
            Phase::Closed { ramp: None } => (Some(Permit::Closed { epoch: self.epoch }), RetryAfter::Now),
            Phase::Open { deadline } if self.since <= now && now < *deadline => {
                (None, RetryAfter::until(*deadline, now))
            }
            _ => return None,
        };
        Some(Admission {
            allowed: ticket.is_some(),
            state: self.state(),
            ticket,
            retry,
            changed: false,
            transitions: Transitions::default(),
        })
    }

    /// Does what time has done by itself up to `now`. True when anything
    /// changed. Afterwards `now` is within the state: not before its start, nor
    /// after the end of its force, ramp or any lease. An opening past its
    /// deadline stays open: only a call ends it.
    pub(super) fn settle(&mut self, breaker: &Breaker, now: Micros, transitions: &mut Transitions) -> bool {
        if matches!(self.phase, Phase::Closed { ramp: None }) {
            return false;
        }
        let mut changed = self.rewind(now);
        if let Some(until) = self.hold().and_then(|hold| hold.until)
            && now >= until
        {
            self.start_afresh();
            self.enter(Phase::Closed { ramp: None }, until, Cause::ForceEnded, transitions);
            transitions.last_was_by_time();
            changed = true;
        }
        if let Phase::HalfOpen(round) = &mut self.phase {
            changed |= round.clamp_leases(breaker, now);
            changed |= self.settle_round(breaker, now, transitions);
        }
        if matches!(self.phase, Phase::Closed { ramp: Some(_) }) && now.since(self.since) >= breaker.ramp_us()
        {
            self.phase = Phase::Closed { ramp: None };
            changed = true;
        }
        changed
    }

    /// After the clock stepped back to before the start of this state: as if
    /// the state began now, so nothing lasts longer than it should have.
    fn rewind(&mut self, now: Micros) -> bool {
        let step = self.since.since(now);
        if step == 0 {
            return false;
        }
        self.since = now;
        match &mut self.phase {
            // The leases of a round are clamped with the breaker at hand.
            Phase::Closed { .. } | Phase::HalfOpen(_) => {}
            Phase::Open { deadline } => *deadline = deadline.minus(step),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => {
                hold.until = hold.until.map(|until| until.minus(step));
            }
        }
        true
    }

    /// Loses the trials whose leases have ended, in that order, until there is
    /// a verdict; then carries it out, as of the moment that decided it.
    fn settle_round(&mut self, breaker: &Breaker, now: Micros, transitions: &mut Transitions) -> bool {
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

    /// Counts a result that this state accepts: `None` for an ignored one. True
    /// when that changed anything.
    fn apply(
        &mut self,
        breaker: &Breaker,
        now: Micros,
        call: Option<CallOutcome>,
        transitions: &mut Transitions,
    ) -> bool {
        match (&mut self.phase, call) {
            (Phase::HalfOpen(round), call) => {
                // An ignored trial has given its place back, and shows that
                // somebody still cares.
                if let Some(call) = call {
                    round.count(call);
                }
                self.touched = now;
                self.settle_round(breaker, now, transitions);
                true
            }
            (_, Some(call)) => {
                self.record(breaker, now, call, transitions);
                true
            }
            (_, None) => false,
        }
    }

    /// Records a result of a closed circuit, which may trip it. A success that
    /// is not slow never does, though it may complete `min`.
    fn record(&mut self, breaker: &Breaker, now: Micros, call: CallOutcome, transitions: &mut Transitions) {
        self.touched = now;
        self.window.record(breaker, now, call);
        let judged = (call.failed || call.slow) && self.state() == CircuitState::Closed;
        if judged && let Some(cause) = self.tripped(breaker, now) {
            self.open(breaker, now, cause, transitions);
        }
    }

    /// Why the window trips the breaker, if it does.
    fn tripped(&self, breaker: &Breaker, now: Micros) -> Option<Cause> {
        let tally = self.window.tally(breaker, now);
        match breaker.trip() {
            Trip::Consecutive { failures } | Trip::Count { failures, .. } => {
                (tally.failures >= u64::from(failures)).then_some(Cause::Failures)
            }
            Trip::RatePeriod { rate, .. } | Trip::RateCalls { rate, .. } => {
                if tally.calls < u64::from(breaker.min()) {
                    None
                } else if rate.reached(tally.failures, tally.calls) {
                    Some(Cause::Failures)
                } else {
                    (breaker.slow_us().is_some() && breaker.slowrate().reached(tally.slow, tally.calls))
                        .then_some(Cause::SlowCalls)
                }
            }
        }
    }

    fn open(&mut self, breaker: &Breaker, at: Micros, cause: Cause, transitions: &mut Transitions) {
        self.openings = self.openings.saturating_add(1);
        let deadline = at.plus(breaker.open_time_us(self.openings));
        self.enter(Phase::Open { deadline }, at, cause, transitions);
    }

    fn close(&mut self, breaker: &Breaker, at: Micros, transitions: &mut Transitions) {
        self.start_afresh();
        // Half a call to begin with rounds the admitted calls to the nearest
        // whole number instead of down.
        let ramp = (breaker.ramp_us() > 0).then_some(breaker.ramp_us() / 2);
        self.enter(Phase::Closed { ramp }, at, Cause::TrialsSucceeded, transitions);
    }

    /// Forgets calls and openings.
    fn start_afresh(&mut self) {
        self.openings = 0;
        self.window.clear();
    }

    /// The one place where a state, and with it an epoch, begins. The cap is out
    /// of any clock's reach: it keeps a circuit from a forged payload within
    /// what the encoding accepts.
    fn enter(&mut self, phase: Phase, at: Micros, cause: Cause, transitions: &mut Transitions) {
        let (from, to) = (self.state(), phase.state());
        self.epoch = self.epoch.saturating_add(1).max(at.0).min(MAX_EPOCH);
        self.since = at;
        self.touched = at;
        self.phase = phase;
        if from != to {
            transitions.push(Transition { from, to, epoch: self.epoch, at, cause, by_time: false });
        }
    }
}

/// Whether a ramp that began `elapsed_us` ago admits this call. Each call
/// offered earns its share, elapsed / ramp, of a call admitted; so the calls
/// admitted are the sum of all shares, to the nearest whole number.
fn ramp_admits(credit: &mut u64, elapsed_us: u64, ramp_us: u64) -> bool {
    *credit = credit.saturating_add(elapsed_us).min(ramp_us.saturating_mul(2));
    let admits = *credit >= ramp_us;
    if admits {
        *credit -= ramp_us;
    }
    admits
}
