//! Random histories of many clients against the model. They bring up to five
//! breakers of their own, and operators and policies others.
//!
//! Each history also runs on a replica, which hears only of the calls that
//! changed something, and through the encoding, at every step.

use super::key::{START, breaker};
use crate::checked_limiter::cases;
use crate::models::breaker::BreakerModel;
use floodgate::core::breaker::{
    Breaker, Circuit, CircuitState, Force, Permit, Report, ReportOutcome, Reporter, Transitions,
};
use floodgate::core::time::Micros;
use floodgate::core::wire::Reader;
use proptest::prelude::*;

/// Neighbours share a kind of window.
const BREAKERS: &[&str] = &[
    "3:open=1s:lease=2s",
    "3:open=2s:lease=1s:probes=3:backoff=2:maxopen=5s:ramp=3s",
    "3/8s:open=1s:probes=2:lease=3s",
    "3/8s:open=1s:backoff=1.5:ramp=1s",
    "50%/8s:min=4:open=1s",
    "50%/8s:min=3:open=1s:slow=100ms:slowrate=40%:probes=4:lease=2s",
    "2/1s:open=1s:probes=2:ramp=2s:idle=2d",
    "34%/5calls:min=3:open=1s:probes=3:lease=2s:backoff=3",
    "34%/5calls:open=3s:slow=100ms:probes=5:lease=1s:ramp=2s",
    "75%/70calls:min=2:open=500ms:probes=7:slow=100ms:slowrate=60%",
    "100%/1s:min=1:open=1s:probes=2:slow=50ms:slowrate=50%:lease=1s",
    "2:open=1s:lease=2s:reporters=2",
    "3/8s:open=1s:probes=2:reporters=3",
    "40%/8s:min=2:open=1s:slow=100ms:slowrate=40%:reporters=2",
    "25%/40calls:min=3:open=1s:probes=3:slow=100ms:slowrate=20%:reporters=4",
    "9/1s:open=1s:reporters=8",
];

/// One step of a history. Numbers of what there may be too few of are taken modulo.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pass { us: u64 },
    ClockBack { us: u64 },
    Force { force: Force, for_us: Option<u64> },
    Reset,
    Delete,
    Change { to: usize },
    Name { breaker: usize },
    Acquire { by: By, without_by: bool },
    Report { by: By, permit: Reported, outcome: ReportOutcome, took_us: Option<u64>, reporter: Option<u8> },
}

/// The breaker that holds for a call.
#[derive(Clone, Copy, Debug)]
enum By {
    InForce,
    Brought(usize),
}

/// Which permit a report gives back.
#[derive(Clone, Copy, Debug)]
enum Reported {
    None,
    Any(usize),
    /// Of the last four, counted from the end.
    Late(usize),
}

impl Step {
    /// What to do, and two numbers that say how.
    fn of((what, how, more): (u8, u8, u16)) -> Self {
        let far = |all: [u64; 4]| all[usize::from(how % 4)];
        let breaker = usize::from(how) % BREAKERS.len();
        let by = if more % 16 < 7 { By::InForce } else { By::Brought(usize::from(how / 8)) };
        match what % 32 {
            0..=3 => Self::Pass { us: far([1, 999, 1000, 1_001]) * u64::from(more % 100) },
            4..=6 => Self::Pass { us: far([62_500, 500_000, 1_000_000, 2_000_000]) },
            7 => Self::Pass { us: u64::from(more) * 400 },
            8 => Self::ClockBack { us: far([1, 50_000, 1_500_000, 60_000_000]) },
            9 if more % 4 == 0 => Self::Force {
                force: [Force::Open, Force::Closed, Force::Auto][usize::from(how % 3)],
                for_us: (!(more / 4).is_multiple_of(4)).then(|| u64::from(more / 4) * 100),
            },
            10 if more % 4 == 0 => Self::Reset,
            11 if more % 4 == 0 => Self::Delete,
            12 if more % 4 == 0 => Self::Change { to: breaker },
            13 if more % 8 == 0 => Self::Name { breaker },
            9..=19 => Self::Acquire { by, without_by: more.is_multiple_of(2) },
            _ => {
                let back = usize::from(more >> 8);
                Self::Report {
                    by,
                    permit: match how % 8 {
                        0 => Reported::None,
                        1..=2 => Reported::Any(back),
                        _ => Reported::Late(back),
                    },
                    outcome: match (more / 16) % 8 {
                        0..=3 => ReportOutcome::Ok,
                        4 => ReportOutcome::Ignore,
                        _ => ReportOutcome::Fail,
                    },
                    took_us: [None, Some(50_000), Some(100_001), Some(2_000_000)][usize::from(how >> 6)],
                    // Some say nothing of who they are.
                    reporter: u8::try_from(more / 128 % 13).ok().filter(|&reporter| reporter < 12),
                }
            }
        }
    }
}

struct History {
    /// The breaker in force.
    breaker: Breaker,
    /// What clients bring.
    brought: Vec<Breaker>,
    circuit: Circuit,
    replica: Circuit,
    model: BreakerModel,
    now: u64,
    /// Every permit ever given out, and from which epoch on they are ours.
    permits: Vec<Permit>,
    /// The most probes of any breaker since the round began.
    probes: usize,
    /// The highest epoch of all, deleted circuits included.
    last_epoch: u64,
}

impl History {
    fn new(texts: &[usize]) -> Self {
        let brought: Vec<_> = texts.iter().map(|&at| breaker(BREAKERS[at])).collect();
        let breaker = brought[0];
        let circuit = Circuit::new(&breaker, START, 0);
        Self {
            breaker,
            brought,
            replica: circuit.clone(),
            model: BreakerModel::new(&breaker, START.0, circuit.epoch()),
            last_epoch: circuit.epoch(),
            circuit,
            now: START.0,
            permits: vec![Permit::Closed { epoch: 1 }, Permit::Trial { epoch: START.0, trial: 1 }],
            probes: 1,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass { us } => self.now += us,
            Step::ClockBack { us } => self.now -= us,
            Step::Force { force, for_us } => self.force(force, for_us),
            Step::Reset => self.reset(),
            Step::Delete => self.delete(),
            Step::Change { to } => self.change(BREAKERS[to]),
            Step::Name { breaker } => self.name(BREAKERS[breaker]),
            Step::Acquire { by, without_by } => self.acquire(by, without_by),
            Step::Report { by, permit, outcome, took_us, reporter } => {
                let permit = self.permit(permit);
                // Some say nothing of who they are.
                let reporter = reporter.and_then(|reporter| Reporter::named(&[b'a' + reporter]));
                let reporter = reporter.unwrap_or_default();
                self.report(by, &Report { reporter, ..Report::new(outcome, permit, took_us) });
            }
        }
        self.check();
    }

    fn at(&self) -> Micros {
        Micros(self.now)
    }

    fn holds(&self, by: By) -> Breaker {
        match by {
            By::InForce => self.breaker,
            By::Brought(at) => self.brought[at % self.brought.len()],
        }
    }

    fn permit(&self, reported: Reported) -> Option<Permit> {
        let newest = self.permits.len();
        match reported {
            Reported::None => None,
            Reported::Any(at) => Some(self.permits[at % newest]),
            Reported::Late(back) => Some(self.permits[newest - 1 - back % newest.min(4)]),
        }
    }

    fn acquire(&mut self, by: By, without_by: bool) {
        let (own, by) = (self.breaker, self.holds(by));
        let (before, now) = (self.circuit.clone(), self.at());
        let peeked = self.circuit.peek_acquire_under(&own, &by, now);
        assert_eq!(self.circuit, before, "a peek changes nothing");
        let admission = if own == by && without_by {
            assert_eq!(self.circuit.peek_acquire(&own, now), peeked);
            self.circuit.acquire(&own, now)
        } else {
            self.circuit.acquire_under(&own, &by, now)
        };
        assert_eq!(peeked, admission);
        assert_eq!(admission.allowed, admission.permit.is_some());
        assert_eq!(admission.changed, self.circuit != before || admission.adopted && own != by);
        if admission.changed {
            self.replica.acquire_under(&own, &by, now);
        }
        let (permit, wait, adopted) = self.model.acquire(&own, &by, self.now);
        assert_eq!((admission.permit, admission.state), (permit, self.model.state()));
        let wait = wait.map_or(-1, |us| i64::try_from(us.div_ceil(1000)).unwrap());
        assert_eq!((admission.retry.millis(), admission.adopted), (wait, adopted));
        self.transitions(admission.transitions);
        self.permits.extend(permit);
        if adopted {
            self.breaker = by;
        }
    }

    fn report(&mut self, by: By, report: &Report) {
        let (own, by) = (self.breaker, self.holds(by));
        let (before, now) = (self.circuit.clone(), self.at());
        let reported = self.circuit.report_under(&own, &by, now, report);
        if reported.changed {
            // What nobody asks for does not travel.
            let asked = before.tells_reporters() || by.reporters() > 1;
            let known =
                if asked && report.may_count_reporter() { report.reporter } else { Reporter::UNNAMED };
            self.replica.report_under(&own, &by, now, &Report { reporter: known, ..*report });
        } else {
            assert_eq!(self.circuit, before);
        }
        if !reported.applied {
            // A result that does not apply did nothing that looking would not
            // have shown as well.
            let view = before.view(&own, now);
            assert_eq!(view, self.circuit.view(&own, now));
        }
        let (applied, adopted) = self.model.report(&own, &by, self.now, report);
        let seen = (reported.applied, reported.state, reported.adopted);
        assert_eq!(seen, (applied, self.model.state(), adopted));
        self.transitions(reported.transitions);
        if adopted {
            self.breaker = by;
        }
    }

    fn name(&mut self, text: &str) {
        let named = breaker(text);
        self.circuit.name(&named);
        self.replica.name(&named);
        self.model.name(&named);
    }

    fn force(&mut self, force: Force, for_us: Option<u64>) {
        let until = for_us.map(|us| self.now + us);
        let (now, end) = (self.at(), until.map(Micros));
        let change = self.circuit.force(&self.breaker, now, force, end, b"reason");
        if change.changed {
            self.replica.force(&self.breaker, now, force, end, b"reason");
        }
        self.model.force(&self.breaker, self.now, force, until);
        self.transitions(change.transitions);
    }

    fn reset(&mut self) {
        let epoch = self.circuit.epoch();
        let change = self.circuit.reset(&self.breaker, self.at());
        assert!(change.changed && self.circuit.epoch() > epoch);
        self.replica.reset(&self.breaker, self.at());
        self.model.reset(&self.breaker, self.now);
        self.transitions(change.transitions);
    }

    fn delete(&mut self) {
        self.circuit = Circuit::new(&self.breaker, self.at(), self.last_epoch + 1);
        self.replica = self.circuit.clone();
        self.model = BreakerModel::new(&self.breaker, self.now, self.circuit.epoch());
    }

    fn change(&mut self, text: &str) {
        let (new, epoch) = (breaker(text), self.circuit.epoch());
        let change = self.circuit.change_breaker(&self.breaker, &new, self.at());
        if change.changed {
            self.replica.change_breaker(&self.breaker, &new, self.at());
        }
        assert_eq!(change.transitions.list().is_empty(), self.circuit.epoch() == epoch);
        self.model.change(&self.breaker, &new, self.now);
        self.breaker = new;
        self.transitions(change.transitions);
    }

    /// The transitions are those of the model, and their epochs rise.
    fn transitions(&mut self, transitions: Transitions) {
        let seen: Vec<_> = transitions.list().iter().map(|t| (t.to, t.at.0)).collect();
        assert_eq!(seen, self.model.entered);
        self.model.entered.clear();
        for transition in transitions.list() {
            assert!(transition.epoch > self.last_epoch && transition.from != transition.to);
            self.last_epoch = transition.epoch;
        }
    }

    /// What time alone will do is what looks find at each moment to come.
    fn check_timeline(&self) {
        let steps = self.circuit.timeline(&self.breaker);
        let mut state = self.circuit.state();
        for step in &steps {
            let at = step.at.max(self.at());
            // Several may happen at once, and some have by now.
            if at.minus(1) > self.at() && self.at() <= step.at.minus(1) && state != step.state {
                assert_eq!(
                    self.circuit.view(&self.breaker, at.minus(1)).state,
                    state,
                    "{steps:?} before {at:?}"
                );
            }
            state = step.state;
            let last = steps.iter().rfind(|other| other.at <= at).map_or(state, |other| other.state);
            assert_eq!(self.circuit.view(&self.breaker, at).state, last, "{steps:?} at {at:?}");
        }
        let end = self.at().plus(1 << 40);
        assert_eq!(self.circuit.view(&self.breaker, end).state, state);
    }

    /// What holds after every step.
    fn check(&mut self) {
        self.last_epoch = self.last_epoch.max(self.circuit.epoch());
        assert_eq!(self.circuit, self.replica, "a replica has the same state");
        let (view, before) = (self.circuit.view(&self.breaker, self.at()), self.circuit.clone());
        let mut model = self.model.clone();
        model.pass(&self.breaker, self.now);
        for brought in std::iter::once(&self.breaker).chain(&self.brought) {
            let seen = self.circuit.view_under(&self.breaker, brought, self.at());
            let tally = (seen.window.calls, seen.window.failures, seen.window.slow);
            let mut met = model.clone();
            met.look(&self.breaker, brought, self.now);
            assert_eq!((seen.epoch, seen.openings), (met.epoch(), met.openings()));
            assert_eq!(tally, met.tally(brought, self.now), "{}", brought.canonical());
            let reporters = (usize::from(seen.reporters.failing), usize::from(seen.reporters.slow));
            assert_eq!(reporters, met.reporters(brought, self.now), "{}", brought.canonical());
        }
        assert_eq!(self.circuit.state_at(&self.breaker, self.at()), model.state());
        let state = if model.is_due(self.now) { CircuitState::HalfOpen } else { model.state() };
        assert_eq!((view.state, view.trials_in_flight), (state, model.in_flight()));
        assert_eq!(self.circuit, before);
        let forgotten = self.circuit.expires_at(&self.breaker, self.at()).map(|end| end.0);
        assert_eq!(forgotten, self.model.forgotten_at(&self.breaker, self.now));
        let all = std::iter::once(&self.breaker).chain(&self.brought);
        let probes = all.map(|b| usize::from(b.probes())).max().unwrap();
        let half_open = self.circuit.state() == CircuitState::HalfOpen;
        self.probes = if half_open { self.probes.max(probes) } else { probes };
        assert!(view.trials_in_flight <= self.probes);
        self.check_timeline();
        if let Some(end) = self.circuit.expires_at(&self.breaker, self.at())
            && !matches!(view.state, CircuitState::Closed | CircuitState::HalfOpen)
        {
            assert!(end.millis_after(self.at()) >= view.retry.millis().unsigned_abs());
        }
        let mut bytes = Vec::new();
        self.circuit.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Circuit::read(&mut reader, &self.breaker).as_ref(), Ok(&self.circuit));
        assert!(reader.is_empty());
    }

    /// Once every lease and deadline has passed, one good series of trials
    /// closes whatever happened before.
    fn recovers(&mut self) {
        if self.circuit.state() == CircuitState::ForcedOpen {
            self.force(Force::Auto, None);
        }
        // A first call may find that results under another breaker open it.
        for _ in 0..2 {
            self.circuit.acquire(&self.breaker, self.at());
            self.now += 7_200_000_000; // openings last up to an hour
        }
        let mut series = Vec::new();
        while series.len() < usize::from(self.breaker.probes()) {
            let admission = self.circuit.acquire(&self.breaker, self.at());
            let Some(permit) = admission.permit else { break };
            series.push(permit);
        }
        assert!(!series.is_empty());
        for permit in series {
            let reported = self.circuit.report(
                &self.breaker,
                self.at(),
                &Report::new(ReportOutcome::Ok, Some(permit), Some(1)),
            );
            assert!(reported.applied || self.circuit.state() == CircuitState::Closed);
        }
        assert!(
            matches!(self.circuit.state(), CircuitState::Closed | CircuitState::ForcedClosed),
            "{:?}",
            self.circuit
        );
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_history_agrees_with_the_model(
        texts in proptest::collection::vec(0..BREAKERS.len(), 1..6),
        steps in proptest::collection::vec(any::<(u8, u8, u16)>().prop_map(Step::of), 1..120),
    ) {
        let mut history = History::new(&texts);
        for step in steps {
            history.step(step);
        }
        history.recovers();
    }
}
