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

use super::answer::{Cause, Transition, Transitions};
use super::phase::{ForcedState, Phase};
use super::ramp::Ramp;
use super::round::Round;
use super::spec::Breaker;
use crate::core::breaker::answer::CircuitState;
use crate::core::breaker::window::CallWindows;
use crate::core::prefetch_hint::PrefetchHint;
use crate::core::time::Micros;

/// The largest epoch. It is far above the latest time, so there is room to count up from there.
pub(super) const MAX_EPOCH: u64 = 1 << 53;

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
    /// passes one more than the last epoch that it saw anywhere. [`Moment`](super::Moment) carries
    /// the same number for the epochs that follow, because an older copy of a circuit may come back.
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
