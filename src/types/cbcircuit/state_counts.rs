//! The number of circuits in each state, for INFO. It follows time, too.

use crate::core::breaker::{Breaker, Circuit, CircuitState, TimedStep};
use crate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use crate::core::time::Micros;
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::counting;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All states, in the order of INFO.
pub const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::ForcedOpen,
    CircuitState::ForcedClosed,
];

/// The changes that time alone made to circuits since the module was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedByTime {
    /// The number of trials that were lost.
    pub lost_trials: u64,
    /// The number of forces that ended.
    pub to_closed: u64,
    /// The number of rounds that a lost trial ended.
    pub to_open: u64,
}

const COUNTS: usize = 3;

/// The schedule is behind a lock, because a background thread may free keys.
static SCHEDULE: Mutex<GaugeSchedule<{ STATES.len() }, COUNTS>> = Mutex::new(GaugeSchedule::new());

fn schedule() -> MutexGuard<'static, GaugeSchedule<{ STATES.len() }, COUNTS>> {
    SCHEDULE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(state: CircuitState) -> [i32; STATES.len()] {
    STATES.map(|other| i32::from(other == state))
}

/// Advances to `now`, and counts what has ended by then.
pub(in crate::types) fn advance(now: Micros) {
    schedule().advance(now, counting::transitions());
}

/// True if time will change the state of some circuit on this server, or has changed one.
pub(in crate::types) fn is_planned() -> bool {
    !schedule().is_empty()
}

/// The number of circuits in each of [`STATES`], as of the last advance.
pub fn counts() -> [u64; STATES.len()] {
    schedule().gauges()
}

/// Returns the changes that time alone made, as of the last advance.
pub fn ended() -> EndedByTime {
    let [lost_trials, to_closed, to_open] = schedule().counts();
    EndedByTime { lost_trials, to_closed, to_open }
}

/// Counts one circuit for as long as it lives. Most circuits are closed and do not change with
/// time: these take no room of their own.
#[derive(Debug)]
pub struct Counted(Option<Box<Timeline>>);

/// The state of a circuit, and what time will do to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Timeline {
    state: CircuitState,
    steps: Vec<TimedStep>,
}

impl Timeline {
    fn of(circuit: &Circuit, breaker: &Breaker, is_pinned: bool) -> Option<Box<Self>> {
        let state = circuit.state();
        if state == CircuitState::Closed {
            return None;
        }
        let mut steps = circuit.timeline(breaker);
        // A key without a pin goes when its circuit is forgotten.
        let forgotten = circuit.expires_at(breaker, Micros::MAX).filter(|_| is_pinned);
        steps.extend(forgotten.map(|at| TimedStep {
            at,
            state: CircuitState::Closed,
            lost_trials: 0,
            enters: None,
        }));
        Some(Box::new(Self { state, steps }))
    }
}

impl Counted {
    /// Counts a circuit. What time has done to it by now happened on another server or before, and
    /// does not count.
    pub fn new(circuit: &Circuit, breaker: &Breaker, is_pinned: bool) -> Self {
        let counted = Self(Timeline::of(circuit, breaker, is_pinned));
        counted.enter(false);
        counted
    }

    /// Updates the counts for a circuit that may have changed.
    #[inline]
    pub(in crate::types) fn update(
        &mut self,
        main: MainThread,
        circuit: &Circuit,
        breaker: &Breaker,
        is_pinned: bool,
    ) {
        if self.0.is_some() || circuit.state() != CircuitState::Closed {
            self.change(main, Timeline::of(circuit, breaker, is_pinned));
        }
    }

    #[cold]
    fn change(&mut self, main: MainThread, timeline: Option<Box<Timeline>>) {
        if self.0 == timeline {
            return;
        }
        // What has ended is counted before its plan is taken back.
        advance(context::now(main));
        self.leave();
        self.0 = timeline;
        self.enter(counting::transitions());
    }

    fn state(&self) -> CircuitState {
        self.0.as_ref().map_or(CircuitState::Closed, |timeline| timeline.state)
    }

    fn steps(&self) -> &[TimedStep] {
        self.0.as_ref().map_or(&[], |timeline| &timeline.steps)
    }

    /// The moments at which the circuit changes, and how the counts change then.
    fn moments(&self) -> impl Iterator<Item = (Micros, GaugeStep<{ STATES.len() }, COUNTS>)> {
        let mut before = self.state();
        self.steps().iter().map(move |step| {
            let (from, to) = (one(std::mem::replace(&mut before, step.state)), one(step.state));
            let mut gauges = to;
            gauges.iter_mut().zip(from).for_each(|(gauge, from)| *gauge -= from);
            let enters = |state| u32::from(step.enters == Some(state));
            let counts =
                [u32::from(step.lost_trials), enters(CircuitState::Closed), enters(CircuitState::Open)];
            (step.at, GaugeStep { gauges, counts })
        })
    }

    fn enter(&self, counts: bool) {
        let mut schedule = schedule();
        schedule.change(one(self.state()), 1);
        for (at, step) in self.moments() {
            schedule.plan(at, &step, counts);
        }
    }

    fn leave(&self) {
        let mut schedule = schedule();
        schedule.change(one(self.state()), -1);
        for (at, step) in self.moments() {
            schedule.take_back(at, &step);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        let copy = Self(self.0.clone());
        copy.enter(false);
        copy
    }
}
