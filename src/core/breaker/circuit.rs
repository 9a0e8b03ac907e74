//! The state machine of one circuit.
//!
//! Time does nothing on its own. Every function that changes a circuit first settles what time has
//! done since the last one: a force that ended, a trial that was lost, a ramp that is over, a clock
//! that stepped back. Then it does its own part. So no timer is needed, and the result is a
//! function of (circuit, breaker, now, arguments): a replica repeats the call. A function that
//! answers `changed: false` has changed nothing.
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
//! A force can begin in any state. It ends in the closed state with an empty window.

use super::answer::{Admission, Cause, Reported, Transition, Transitions};
use super::moment::Moment;
use super::ramp::Ramp;
use super::round::Round;
use super::spec::Breaker;
use crate::core::breaker::answer::{CircuitState, ReportOutcome, StateTransition};
use crate::core::breaker::permit::Permit;
use crate::core::breaker::report::Report;
use crate::core::breaker::window::{CallOutcome, CallWindows};
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::retry_after::RetryAfter;
use crate::core::text::duration::{LONGEST, MILLISECOND};
use crate::core::time::Micros;

/// The most bytes that are kept of the reason of a force. The rest is cut off.
pub const REASON_BYTES: usize = 256;

/// The largest epoch. It is far above the latest time, so there is room to count up from there.
pub(super) const MAX_EPOCH: u64 = 1 << 53;

/// The order of an operator about a force.
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
    /// The end of the force; `None` if only an operator ends it.
    pub until: Option<Micros>,
    /// The operator's reason.
    pub reason: Box<[u8]>,
}

/// A state together with the data that only this state has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed {
        /// The ramp, while it lasts.
        ramp: Option<Box<Ramp>>,
    },
    Open {
        /// A call at this moment or later is a trial.
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

/// The state of one key under a breaker.
///
/// It is always used with the breaker in force: the one that it was made for, or that admitted a
/// call last. A call may bring another breaker. Each breaker is judged on the window of its own
/// kind, and every window records all results, so callers with different breakers each get the
/// right verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// The number of the current epoch. It rises with every transition, force and reset, and
    /// permits name it.
    pub(super) epoch: u64,
    /// When the state began.
    pub(super) since: Micros,
    /// The last sign of life: a result that was applied, or the start of an epoch.
    pub(super) touched: Micros,
    /// The number of openings since the circuit was last closed.
    pub(super) openings: u32,
    /// True if failures or slow calls came in under a breaker that judges differently, since the one
    /// in force was judged last. The next call under the breaker in force judges it then.
    pub(super) unjudged: bool,
    /// Marks of the circuit's holder. They mean nothing here. They are kept inside the circuit
    /// because beside it they would make each key 16 bytes larger.
    pub(super) marks: u8,
    pub(super) phase: Phase,
    /// The results by which a closed circuit is judged. An opening leaves them as they were, so
    /// that people see why it opened. Closing empties them.
    pub(super) windows: CallWindows,
}

impl Circuit {
    /// Makes a closed circuit without results.
    ///
    /// Its epoch is the time in microseconds or `first_epoch`, whichever is later. Each following
    /// epoch is the time, or one more than the last. So an epoch is not repeated after a key was
    /// deleted, as long as the clock goes on. To be sure of that whatever the clock does, the caller
    /// passes one more than the last epoch that it saw anywhere. [`Moment`] carries the same number
    /// for the epochs that follow, because an older copy of a circuit may come back.
    pub fn new(breaker: &Breaker, now: Micros, first_epoch: u64) -> Self {
        let now = now.min(Micros::MAX);
        Self {
            epoch: now.0.max(first_epoch.min(MAX_EPOCH)),
            since: now,
            touched: now,
            openings: 0,
            unjudged: false,
            marks: 0,
            phase: Phase::Closed { ramp: None },
            windows: CallWindows::new(breaker),
        }
    }

    /// When the state began, as of the last change.
    pub const fn since(&self) -> Micros {
        self.since
    }

    /// The marks of the circuit's holder.
    pub const fn marks(&self) -> u8 {
        self.marks
    }

    /// Sets the marks. [`Circuit::write`] does not write them.
    pub const fn mark(&mut self, marks: u8) {
        self.marks = marks;
    }

    /// The number of the current epoch.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The state as of the last change. [`Circuit::view`] also shows what time has done since.
    pub const fn state(&self) -> CircuitState {
        self.phase.state()
    }

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

    /// Forces a state by an operator's word, until `until`, or for good if that is `None`.
    /// [`Force::Auto`] ends a force; without a force it does nothing.
    pub fn force(
        &mut self,
        breaker: &Breaker,
        at: impl Into<Moment>,
        force: Force,
        until: Option<Micros>,
        reason: &[u8],
    ) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        let settled = self.advance(breaker, now, &mut transitions);
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

    /// Resets the circuit by an operator's word: closed, with an empty window and without a force.
    pub fn reset(&mut self, breaker: &Breaker, at: impl Into<Moment>) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        self.advance(breaker, now, &mut transitions);
        self.start_afresh();
        self.enter(Phase::Closed { ramp: None }, now, Cause::Reset, &mut transitions);
        StateTransition { state: self.state(), changed: true, transitions }
    }

    /// Puts `new` in force, whatever the state: by an operator's word, or because a policy says so.
    /// The circuit keeps its epoch, state, deadline and results.
    ///
    /// A half-open round goes on with its trials. If `new` makes their verdict certain, it is given
    /// now. A closed circuit is judged by the next call, if `new` judges differently.
    pub fn change_breaker(&mut self, old: &Breaker, new: &Breaker, at: impl Into<Moment>) -> StateTransition {
        let (now, mut transitions) = at.into().start();
        let mut changed = self.advance(old, now, &mut transitions);
        if !same(old, new) {
            changed = true;
            let unjudged = self.unjudged || !old.judges_like(new);
            self.adopt(old, new);
            self.unjudged = unjudged;
            self.advance(new, now, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// [`Circuit::change_breaker`] as version 0.1 did it, for effects that 0.1 wrote. Another trip
    /// forgets the results, and another ramp begins with half a call.
    pub fn change_breaker_0_1(&mut self, old: &Breaker, new: &Breaker, now: Micros) -> StateTransition {
        let now = now.min(Micros::MAX);
        let mut transitions = Transitions::default();
        let mut changed = self.advance(old, now, &mut transitions);
        if !same(old, new) {
            changed = true;
            if old.trip() == new.trip() {
                self.windows.bring(new);
            } else {
                self.windows = CallWindows::new(new);
            }
            if let Phase::Closed { ramp: Some(ramp) } = &mut self.phase
                && old.ramp_us() != new.ramp_us()
            {
                **ramp = Ramp::new(new.ramp_us());
            }
            self.advance(new, now, &mut transitions);
        }
        StateTransition { state: self.state(), changed, transitions }
    }

    /// True if reporters are counted separately. They are since a breaker in force asked for
    /// several.
    pub const fn tells_reporters(&self) -> bool {
        self.windows.tells_reporters()
    }

    /// Notes that a call names a breaker that does not hold for it. Its kind of window records from
    /// now on.
    pub fn name(&mut self, breaker: &Breaker) {
        self.windows.name(breaker);
    }

    /// When the circuit may be forgotten; `None` for never.
    ///
    /// This is `idle` after its last result. But a circuit is not forgotten while that would admit
    /// calls that it denies. So an opening is remembered until a trial had the time to begin, and a
    /// trial is remembered until the end of the opening that its loss would cause.
    pub fn expires_at(&self, breaker: &Breaker, now: Micros) -> Option<Micros> {
        let idle = self.idle_end(breaker, now);
        let kept = self.windows.kept_until().minus(self.touched.since(now));
        let needed = match &self.phase {
            Phase::Closed { ramp: None } => Micros(0),
            Phase::Closed { ramp: Some(ramp) } => self.since.plus(ramp.length_us),
            Phase::Open { deadline } => deadline.plus(breaker.lease_us()),
            Phase::HalfOpen(round) => round.latest_lease().map_or(Micros(0), |end| {
                let reopened = breaker.open_time_us(self.openings.saturating_add(1));
                end.plus(reopened).plus(breaker.lease_us())
            }),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => hold.until?,
        };
        Some(idle.max(kept).max(needed))
    }

    /// When the circuit has had no result for `idle`.
    #[inline]
    fn idle_end(&self, breaker: &Breaker, now: Micros) -> Micros {
        self.touched.min(now).plus(breaker.idle_us())
    }

    /// True if the last result is younger than `idle`, so that the circuit is not forgotten yet.
    #[inline]
    pub fn was_touched_within_idle(&self, breaker: &Breaker, now: Micros) -> bool {
        now < self.idle_end(breaker, now)
    }

    /// The memory outside the circuit that a report most likely needs.
    #[inline]
    pub fn prefetch_hint(&self) -> Option<PrefetchHint> {
        self.windows.prefetch_hint()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Closed { ramp: None } | Phase::Open { .. } => 0,
            Phase::Closed { ramp: Some(_) } => size_of::<Ramp>(),
            Phase::HalfOpen(round) => size_of::<Round>() + round.heap_bytes(),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => {
                size_of::<ForcedState>() + hold.reason.len()
            }
        };
        phase + self.windows.heap_bytes()
    }

    /// The force in effect.
    pub(super) fn hold(&self) -> Option<&ForcedState> {
        match &self.phase {
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => Some(hold),
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen(_) => None,
        }
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

    pub(super) fn open(
        &mut self,
        breaker: &Breaker,
        at: Micros,
        cause: Cause,
        transitions: &mut Transitions,
    ) {
        self.openings = self.openings.saturating_add(1);
        let deadline = at.plus(breaker.open_time_us(self.openings));
        self.enter(Phase::Open { deadline }, at, cause, transitions);
    }

    pub(super) fn close(&mut self, breaker: &Breaker, at: Micros, transitions: &mut Transitions) {
        self.start_afresh();
        let ramp = (breaker.ramp_us() > 0).then(|| Box::new(Ramp::new(breaker.ramp_us())));
        self.enter(Phase::Closed { ramp }, at, Cause::TrialsSucceeded, transitions);
    }

    /// Forgets results and openings.
    pub(super) fn start_afresh(&mut self) {
        self.openings = 0;
        self.unjudged = false;
        self.windows.clear();
    }

    /// Enters a state and begins an epoch; nothing else does. No clock reaches the cap of the
    /// epoch. It keeps a circuit from a forged payload within what the encoding accepts.
    pub(super) fn enter(&mut self, phase: Phase, at: Micros, cause: Cause, transitions: &mut Transitions) {
        let (from, to) = (self.state(), phase.state());
        let least = transitions.least_epoch.max(at.0);
        self.epoch = self.epoch.saturating_add(1).max(least).min(MAX_EPOCH);
        self.since = at;
        self.touched = at;
        self.phase = phase;
        if from != to {
            transitions.push(Transition { from, to, epoch: self.epoch, at, cause, by_time: false });
        }
    }
}

/// True if two breakers are the same. Mostly both are one reference, which is compared first.
pub(super) fn same(one: &Breaker, other: &Breaker) -> bool {
    std::ptr::eq(one, other) || one == other
}
