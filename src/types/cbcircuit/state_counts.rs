//! The number of circuits in each state, for INFO. It follows time, too.

use crate::core::breaker::{Breaker, Circuit, CircuitState, TimedStep};
use crate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use crate::core::time::Micros;
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::counting;
use crate::types::until::Until;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All states, in the order of INFO.
pub const STATES: [CircuitState; 5] = [
    CircuitState::Closed,
    CircuitState::Open,
    CircuitState::HalfOpen,
    CircuitState::ForcedOpen,
    CircuitState::ForcedClosed,
];

/// What time alone did to circuits since the module was loaded.
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

/// What time alone did, as of the last advance.
pub fn ended() -> EndedByTime {
    let [lost_trials, to_closed, to_open] = schedule().counts();
    EndedByTime { lost_trials, to_closed, to_open }
}

/// Counts one circuit until its time is over. The server then deletes its key, unless somebody took the
/// key's expiry away. Most circuits are closed and have no timeline.
#[derive(Debug)]
pub struct Counted {
    timeline: Option<Box<Timeline>>,
    /// When the circuit is no longer counted.
    over: Micros,
}

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
        // Without a pin, the time of the key is over when its circuit is forgotten.
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
        let counted = Self { timeline: Timeline::of(circuit, breaker, is_pinned), over: Micros::NEVER };
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
        if self.timeline.is_some() || circuit.state() != CircuitState::Closed {
            self.change(main, Timeline::of(circuit, breaker, is_pinned));
        }
    }

    #[cold]
    fn change(&mut self, main: MainThread, timeline: Option<Box<Timeline>>) {
        if self.timeline == timeline {
            return;
        }
        // What has ended is counted before its plan is taken back.
        advance(context::now(main));
        self.leave();
        self.timeline = timeline;
        self.enter(counting::transitions());
    }

    /// Notes how long the circuit lasts. It is counted for up to a sixteenth of `idle_us` longer, so that
    /// few results move its end, and many circuits share one.
    #[inline]
    pub(in crate::types) fn lasts(&mut self, until: Until, idle_us: u64) {
        let end = until.end().unwrap_or(Micros::NEVER);
        let latest = end.plus(idle_us / 16);
        if self.over < end || self.over > latest {
            let grid = 1 << (idle_us / 32).checked_ilog2().unwrap_or(0);
            self.move_end(if end == Micros::NEVER { end } else { Micros(latest.0 / grid * grid) });
        }
    }

    #[cold]
    fn move_end(&mut self, over: Micros) {
        let mut schedule = schedule();
        if let Some((at, step)) = self.end() {
            schedule.take_back(at, &step);
        }
        self.over = over;
        if let Some((at, step)) = self.end() {
            schedule.plan(at, &step, false);
        }
    }

    /// The moment from which on the circuit is not counted, and how the counts change then.
    fn end(&self) -> Option<(Micros, GaugeStep<{ STATES.len() }, COUNTS>)> {
        let last = self.steps().last().map_or_else(|| self.state(), |step| step.state);
        let step = GaugeStep { gauges: one(last).map(|gauge| -gauge), counts: [0; COUNTS] };
        (self.over != Micros::NEVER).then_some((self.over, step))
    }

    fn state(&self) -> CircuitState {
        self.timeline.as_ref().map_or(CircuitState::Closed, |timeline| timeline.state)
    }

    fn steps(&self) -> &[TimedStep] {
        self.timeline.as_ref().map_or(&[], |timeline| &timeline.steps)
    }

    /// The moments at which the circuit changes, and how the counts change then.
    fn moments(&self) -> impl Iterator<Item = (Micros, GaugeStep<{ STATES.len() }, COUNTS>)> {
        let mut before = self.state();
        let steps = self.steps().iter().map(move |step| {
            let (from, to) = (one(std::mem::replace(&mut before, step.state)), one(step.state));
            let mut gauges = to;
            gauges.iter_mut().zip(from).for_each(|(gauge, from)| *gauge -= from);
            let enters = |state| u32::from(step.enters == Some(state));
            let counts =
                [u32::from(step.lost_trials), enters(CircuitState::Closed), enters(CircuitState::Open)];
            (step.at, GaugeStep { gauges, counts })
        });
        steps.chain(self.end())
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
        let copy = Self { timeline: self.timeline.clone(), over: self.over };
        copy.enter(false);
        copy
    }
}
