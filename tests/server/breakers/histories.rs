//! Random histories of many callers on a real server. Each reply is compared with that of a slow
//! model. Callers give up to four breakers of their own. Policies and pins come and go, with
//! forces, resets and steps of the clock between them. At the end the replica and the AOF must
//! have followed exactly.

use crate::breakers::fixtures::digest;
use crate::harness::{Reply, Server, T0, assert_same_data, assert_survives_kill, wait_synced};
use crate::histories::{Transcript, run_histories};
use crate::models::breaker::BreakerModel;
use floodgate::core::breaker::{Breaker, CircuitState, Force, Permit, Report, ReportOutcome, Reporter};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

/// Neighbours share a kind of window. The first is the default. Most are forgotten soon, also under a
/// pin.
const BREAKERS: &[&str] = &[
    "50%/60s",
    "3:open=1s:lease=2s:idle=5s",
    "3:open=2s:lease=1s:probes=3:backoff=2:maxopen=5s:ramp=3s:idle=2s",
    "3/8s:open=1s:probes=2:lease=3s:idle=20s",
    "3/8s:open=1s:backoff=1.5:ramp=1s:idle=5s",
    "50%/8s:min=3:open=1s:slow=100ms:slowrate=40%:probes=4:lease=2s:idle=2s",
    "34%/5calls:min=3:open=1s:probes=3:lease=2s:backoff=3:idle=20s",
    "34%/5calls:open=3s:slow=100ms:probes=5:lease=1s:ramp=2s:idle=5s",
    "2/60s:open=1s:lease=1s:idle=2s",
    "2/8s:open=1s:reporters=2:idle=20s",
    "34%/5calls:min=3:open=1s:slow=100ms:reporters=2:idle=5s",
    "2:open=1s:reporters=3:idle=2s",
    "3:open=1s:idle=1s",
    "50%/8s:min=2:open=1s:backoff=2:idle=2s",
];
const KEYS: [&str; 3] = ["{t}a", "{t}b", "{t}c"];
/// The number of breakers that the callers of a history give: one more than there are kinds kept.
const GIVEN: usize = 4;

/// One step of a history. A step does nothing if what it needs is not there.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        us: u64,
    },
    ClockBack {
        us: u64,
    },
    Delete {
        key: usize,
    },
    Reset {
        key: usize,
    },
    Force {
        key: usize,
        force: Force,
        lasts: bool,
    },
    SetPolicy {
        key: usize,
        breaker: usize,
    },
    DeletePolicy {
        key: usize,
    },
    Pin {
        key: usize,
        breaker: usize,
        lasts: bool,
    },
    Unpin {
        key: usize,
    },
    /// A call that its limit denies.
    AcquireLimited {
        key: usize,
        given: Option<usize>,
    },
    Acquire {
        key: usize,
        given: Option<usize>,
    },
    Report {
        key: usize,
        given: Option<usize>,
        report: ReportStep,
    },
}

/// What a report says.
#[derive(Clone, Debug)]
struct ReportStep {
    outcome: ReportOutcome,
    /// The permit that it gives back: one of the last, counted from the end, of whatever key.
    permit: Option<usize>,
    took_ms: Option<u64>,
    from: Option<&'static str>,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let breaker = || 0..2 * BREAKERS.len();
    let given = |share: f64| weighted(share, 0..GIVEN);
    let force = select(vec![Force::Open, Force::Closed, Force::Auto]);
    prop_oneof![
        14 => select(vec![1, 1000, 62_500, 500_000, 1_000_000, 2_000_000, 4_000_000]).prop_map(|us| Step::Pass { us }),
        2 => select(vec![1, 1_500_000, 9_000_000, 100_000_000]).prop_map(|us| Step::ClockBack { us }),
        2 => prop_oneof![
            8 => key().prop_map(|key| Step::Delete { key }),
            1 => key().prop_map(|key| Step::Reset { key }),
            6 => (key(), force, any::<bool>()).prop_map(|(key, force, lasts)| Step::Force { key, force, lasts }),
        ],
        2 => prop_oneof![
            2 => (key(), breaker()).prop_map(|(key, breaker)| Step::SetPolicy { key, breaker }),
            2 => key().prop_map(|key| Step::DeletePolicy { key }),
        ],
        2 => prop_oneof![
            2 => (key(), breaker(), any::<bool>())
                .prop_map(|(key, breaker, lasts)| Step::Pin { key, breaker, lasts }),
            1 => key().prop_map(|key| Step::Unpin { key }),
        ],
        8 => (key(), given(0.75)).prop_map(|(key, given)| Step::AcquireLimited { key, given }),
        24 => (key(), given(0.75)).prop_map(|(key, given)| Step::Acquire { key, given }),
        42 => (key(), given(0.375), report()).prop_map(|(key, given, report)| Step::Report { key, given, report }),
    ]
}

fn report() -> impl Strategy<Value = ReportStep> {
    let outcome = prop_oneof![
        2 => Just(ReportOutcome::Ok),
        2 => Just(ReportOutcome::Fail),
        1 => Just(ReportOutcome::Ignore),
    ];
    let took = select(vec![None, Some(100), Some(101)]);
    let from = select(vec![None, None, Some("pod-1"), Some("pod-2"), Some("pod-3")]);
    (outcome, weighted(0.67, 0..6usize), took, from).prop_map(|(outcome, permit, took_ms, from)| ReportStep {
        outcome,
        permit,
        took_ms,
        from,
    })
}

/// What the server should hold in one key. Breakers are numbers of the list.
struct Twin {
    model: BreakerModel,
    in_force: usize,
    /// Whether a caller chose it.
    from_caller: bool,
    /// The key's own, and whether a report gave it.
    given: Option<(usize, bool)>,
}

/// A breaker that an operator fixed, until when, and since when.
#[derive(Clone, Copy)]
struct Pin {
    breaker: usize,
    until: Option<u64>,
    began: u64,
}

struct History<'s> {
    server: &'s Server,
    breakers: Vec<Breaker>,
    /// The breakers that callers give.
    given: [usize; GIVEN],
    now: u64,
    twins: [Option<Twin>; KEYS.len()],
    /// A pin stays when its circuit is forgotten.
    pins: [Option<Pin>; KEYS.len()],
    policies: [Option<usize>; KEYS.len()],
    permits: Vec<Permit>,
    last_epoch: u64,
    transcript: Transcript,
}

impl<'s> History<'s> {
    fn new(server: &'s Server, given: [usize; GIVEN]) -> Self {
        Self {
            server,
            breakers: BREAKERS.iter().map(|text| Breaker::parse(text.as_bytes()).unwrap()).collect(),
            given,
            now: T0.cast_unsigned(),
            twins: [const { None }; KEYS.len()],
            pins: [None; KEYS.len()],
            policies: [None; KEYS.len()],
            permits: Vec::new(),
            last_epoch: 0,
            transcript: Transcript::default(),
        }
    }

    fn call(&self, command: &[impl AsRef<[u8]>]) -> Reply {
        let words: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word.as_ref())).collect();
        let reply = self.server.call(&command.iter().map(|word| word.as_ref().to_vec()).collect::<Vec<_>>());
        self.transcript.note(format!("{} {} → {reply:?}", self.now, words.join(" ")));
        reply
    }

    fn step(&mut self, step: &Step) {
        // An epoch comes after all that the server has seen, and does not begin in the past.
        for twin in self.twins.iter_mut().flatten() {
            twin.model.least_epoch = self.now.max(self.last_epoch + 1);
        }
        match *step {
            Step::Pass { us } => self.set_clock(self.now + us),
            Step::ClockBack { us } => self.set_clock(self.now - us),
            Step::Delete { key } => {
                self.call(&["DEL", KEYS[key]]);
                (self.twins[key], self.pins[key]) = (None, None);
            }
            Step::Reset { key } => self.reset(key),
            Step::Force { key, force, lasts } => self.force(key, force, lasts),
            Step::SetPolicy { key, breaker } => {
                let at = self.chosen(breaker);
                let (name, text) = (format!("p{key}"), BREAKERS[at]);
                self.call(&["RL.POLICY", "SET", &name, "1/s", "PREFIX", KEYS[key], "BREAKER", text]);
                self.policies[key] = Some(at);
            }
            Step::DeletePolicy { key } => {
                self.call(&["RL.POLICY", "DEL", &format!("p{key}")]);
                self.policies[key] = None;
            }
            Step::Pin { key, breaker, lasts } => self.pin(key, self.chosen(breaker), lasts),
            Step::Unpin { key } => self.unpin(key),
            Step::AcquireLimited { key, given } => self.acquire_limited(key, given.map(|at| self.given[at])),
            Step::Acquire { key, given } => self.acquire(key, given.map(|at| self.given[at])),
            Step::Report { key, given, ref report } => {
                self.report(key, given.map(|at| self.given[at]), report);
            }
        }
    }

    /// The breaker of the pin that holds now.
    fn pinned(&self, key: usize) -> Option<usize> {
        let Pin { breaker, until, began } = self.pins[key]?;
        let end = until.map(|end| end - began.saturating_sub(self.now));
        end.is_none_or(|end| self.now < end).then_some(breaker)
    }

    /// A command records what time has done to the pin; one that a limit denies
    /// only a step of the clock.
    fn settle_pin(&mut self, key: usize, ends: bool) {
        if ends && self.pinned(key).is_none() {
            self.pins[key] = None;
        }
        if let Some(Pin { until, began, .. }) = &mut self.pins[key] {
            *until = until.map(|end| end - began.saturating_sub(self.now));
            *began = self.now.min(*began);
        }
    }

    /// The circuit, unless it is forgotten.
    fn live(&self, key: usize) -> Option<&Twin> {
        let twin = self.twins[key].as_ref()?;
        let end = twin.model.forgotten_at(&self.breakers[twin.in_force], self.now);
        end.is_none_or(|end| self.now < end).then_some(twin)
    }

    /// The epoch that CB.STATE shows of a key that is there.
    fn epoch(&self, key: usize) -> u64 {
        self.call(&["CB.STATE", KEYS[key]]).field("epoch").int().cast_unsigned()
    }

    /// The breaker that an operator chooses: one of all, or one that callers give.
    fn chosen(&self, breaker: usize) -> usize {
        breaker.checked_sub(BREAKERS.len()).map_or(breaker, |at| self.given[at % GIVEN])
    }

    fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.server.clock_set(now.cast_signed());
    }

    fn reset(&mut self, key: usize) {
        let (pin, lives) = (self.pinned(key), self.live(key).is_some());
        let there = lives || pin.is_some();
        assert_eq!(self.call(&["CB.RESET", KEYS[key]]), Reply::Int(there.into()));
        if let (Some(pin), false) = (pin, lives) {
            // The reset has begun the epoch after the first one.
            self.begin(key, pin, false, self.epoch(key) - 1);
        }
        if there {
            let in_force = self.stand(key);
            let twin = self.twins[key].as_mut().unwrap();
            twin.model.reset(&self.breakers[in_force], self.now);
            self.learn(key);
        }
    }

    fn unpin(&mut self, key: usize) {
        let stood = self.pinned(key).is_some();
        assert_eq!(self.call(&["CB.UNPIN", KEYS[key]]), Reply::Int(stood.into()));
        if stood {
            self.pins[key] = None;
            let (next, from_caller) = self.ask_anew(key);
            if self.live(key).is_some() {
                self.put_in_force(key, next, from_caller);
            } else {
                self.begin(key, next, from_caller, self.epoch(key));
            }
            self.learn(key);
        }
    }

    fn pin(&mut self, key: usize, at: usize, lasts: bool) {
        let now = self.now;
        let lasts = lasts.then_some(now + 3_000_000);
        let mut command = vec!["CB.PIN", KEYS[key], BREAKERS[at]];
        if lasts.is_some() {
            command.extend(["FOR", "3s"]);
        }
        assert_eq!(self.call(&command), Reply::ok());
        if self.live(key).is_none() {
            self.begin(key, at, false, self.epoch(key));
        } else {
            self.put_in_force(key, at, false);
        }
        self.pins[key] = Some(Pin { breaker: at, until: lasts, began: now });
        self.learn(key);
    }

    /// What policies, the key itself and the default say, and whether a caller
    /// chose it.
    fn ask_anew(&self, key: usize) -> (usize, bool) {
        let given = self.live(key).and_then(|twin| twin.given);
        match (self.policies[key], given) {
            (Some(policy), _) => (policy, false),
            (None, Some((given, _))) => (given, true),
            (None, None) => (0, false),
        }
    }

    /// The breaker that stands where a call gives none, put in force.
    fn stand(&mut self, key: usize) -> usize {
        self.settle_pin(key, true);
        if let Some(pin) = self.pinned(key) {
            self.put_in_force(key, pin, false);
        } else if !self.twins[key].as_ref().unwrap().from_caller {
            let (next, from_caller) = self.ask_anew(key);
            self.put_in_force(key, next, from_caller);
        }
        self.twins[key].as_ref().unwrap().in_force
    }

    fn put_in_force(&mut self, key: usize, next: usize, from_caller: bool) {
        let twin = self.twins[key].as_mut().unwrap();
        if twin.in_force != next {
            let (old, new) = (&self.breakers[twin.in_force], &self.breakers[next]);
            twin.model.change(old, new, self.now);
            twin.in_force = next;
        }
        twin.from_caller = from_caller;
    }

    fn begin(&mut self, key: usize, at: usize, from_caller: bool, epoch: u64) {
        assert!(epoch > self.last_epoch, "epochs never repeat");
        let model = BreakerModel::new(&self.breakers[at], self.now, epoch);
        self.twins[key] = Some(Twin { model, in_force: at, from_caller, given: None });
    }

    /// The breaker that holds for a CB.ACQUIRE, and whether a caller chose it.
    fn holds(&mut self, key: usize, given: Option<usize>) -> (usize, bool) {
        match (self.pinned(key), given) {
            (Some(pin), _) => (pin, false),
            (None, Some(given)) => (given, true),
            (None, None) => self.ask_anew(key),
        }
    }

    fn acquire(&mut self, key: usize, given: Option<usize>) {
        let mut command = vec!["CB.ACQUIRE", KEYS[key]];
        command.extend(given.map(|given| BREAKERS[given]));
        let reply = self.call(&command);
        let (by, from_caller) = self.holds(key, given);
        if self.live(key).is_none() {
            let Ok(Permit::Closed { epoch }) = Permit::parse(reply[2].bytes()) else { panic!("{reply:?}") };
            self.begin(key, by, from_caller, epoch);
        }
        let twin = self.twins[key].as_mut().unwrap();
        let (own, breaker) = (&self.breakers[twin.in_force], &self.breakers[by]);
        let (permit, wait, adopted) = twin.model.acquire(own, breaker, self.now);
        let token = permit.map_or(Reply::NilBulk, |permit| Reply::bulk(permit.text().as_bytes()));
        let wait = wait.map_or(-1, |us| i64::try_from(us.div_ceil(1000)).unwrap());
        let state = Reply::bulk(twin.model.state().name());
        assert_eq!(reply.items(), [Reply::Int(permit.is_some().into()), state, token, Reply::Int(wait)]);
        if adopted {
            (twin.in_force, twin.from_caller) = (by, from_caller);
        }
        if let Some(given) = given.filter(|&given| permit.is_some() && twin.given != Some((given, false))) {
            twin.model.name(&self.breakers[given]);
            twin.given = Some((given, false));
        }
        self.settle_pin(key, true);
        self.permits.extend(permit);
        self.learn(key);
    }

    /// A call that its limit denies records nothing but a step of the clock.
    fn acquire_limited(&mut self, key: usize, given: Option<usize>) {
        let mut command = vec!["CB.ACQUIRE", KEYS[key]];
        command.extend(given.map(|given| BREAKERS[given]));
        command.extend(["LIMIT", "{t}limit", "1/366d", "COST", "2"]);
        let (by, _) = self.holds(key, given);
        let Some(twin) = self.live(key) else { return };
        let (own, breaker) = (&self.breakers[twin.in_force], &self.breakers[by]);
        let mut peeked = twin.model.clone();
        let (permit, ..) = peeked.acquire(own, breaker, self.now);
        if permit.is_none() {
            // The breaker denies it first; that is for the calls without a limit.
            return;
        }
        let reply = self.call(&command);
        let twin = self.twins[key].as_mut().unwrap();
        let own = &self.breakers[twin.in_force];
        let mut met = twin.model.clone();
        met.pass(own, self.now);
        assert_eq!(reply[0], Reply::Int(0));
        assert_eq!((reply[1].text(), &reply[2]), (met.state().name().into(), &Reply::NilBulk));
        assert_eq!(reply[3], Reply::Int(-1));
        twin.model.step_back(self.now);
        self.settle_pin(key, false);
    }

    fn report(&mut self, key: usize, given: Option<usize>, report: &ReportStep) {
        let &ReportStep { outcome, permit, took_ms, from } = report;
        let permit = permit.and_then(|back| self.permits.iter().rev().nth(back).copied());
        let word = match outcome {
            ReportOutcome::Ok => "OK",
            ReportOutcome::Fail => "FAIL",
            ReportOutcome::Ignore => "IGNORE",
        };
        let mut command = vec!["CB.REPORT".to_owned(), KEYS[key].to_owned(), word.to_owned()];
        if let Some(given) = given {
            command.extend(["BREAKER".to_owned(), BREAKERS[given].to_owned()]);
        }
        if let Some(permit) = permit {
            command.extend(["TOKEN".to_owned(), String::from_utf8(permit.text().as_bytes().into()).unwrap()]);
        }
        if let Some(ms) = took_ms {
            command.extend(["DUR".to_owned(), format!("{ms}ms")]);
        }
        if let Some(from) = from {
            command.extend(["FROM".to_owned(), from.to_owned()]);
        }
        let reporter = from.and_then(|from| Reporter::named(from.as_bytes())).unwrap_or_default();
        let reply = self.call(&command);
        if self.live(key).is_none() {
            if permit.is_some() {
                return assert_eq!(reply.items(), [Reply::Int(0), Reply::bulk("closed")]);
            }
            let (by, from_caller) = self.holds(key, given);
            // A report that opens has begun the epoch after the first one.
            let epoch = self.epoch(key);
            assert_eq!(reply[1], Reply::bulk("closed"), "no breaker of these opens at once");
            self.begin(key, by, from_caller, epoch);
        }
        let now = self.now;
        self.settle_pin(key, true);
        let pin = self.pinned(key);
        let (by, by_call) = match (pin, given) {
            (Some(pin), Some(_)) => (pin, true),
            (None, Some(given)) => (given, true),
            (_, None) => (self.stand(key), false),
        };
        let twin = self.twins[key].as_mut().unwrap();
        let (own, breaker) = (&self.breakers[twin.in_force], &self.breakers[by]);
        let report = Report { reporter, ..Report::new(outcome, permit, took_ms.map(|ms| ms * 1000)) };
        let (applied, adopted) = twin.model.report(own, breaker, now, &report);
        let expected = [Reply::Int(applied.into()), Reply::bulk(twin.model.state().name())];
        assert_eq!(reply.items(), expected);
        if by_call && adopted {
            (twin.in_force, twin.from_caller) = (by, pin.is_none());
        }
        if by_call
            && applied
            && let Some(given) = given
            && twin.given.is_none_or(|(own, by_report)| by_report && own != given)
        {
            twin.model.name(&self.breakers[given]);
            twin.given = Some((given, true));
        }
        self.learn(key);
    }

    fn force(&mut self, key: usize, force: Force, lasts: bool) {
        if self.live(key).is_none() {
            return;
        }
        let word = match force {
            Force::Open => "OPEN",
            Force::Closed => "CLOSED",
            Force::Auto => "AUTO",
        };
        let mut command = vec!["CB.FORCE", KEYS[key], word];
        let lasts = lasts && force != Force::Auto;
        if lasts {
            command.extend(["FOR", "1s", "REASON", "r"]);
        }
        assert_eq!(self.call(&command), Reply::ok());
        let until = lasts.then(|| self.now + 1_000_000);
        let in_force = self.stand(key);
        let twin = self.twins[key].as_mut().unwrap();
        twin.model.force(&self.breakers[in_force], self.now, force, until);
        self.learn(key);
    }

    fn learn(&mut self, key: usize) {
        let twin = self.twins[key].as_ref().unwrap();
        self.last_epoch = self.last_epoch.max(twin.model.epoch());
    }

    /// Once every lease and deadline has passed, good trials close each circuit.
    fn close_all(&mut self) {
        for key in KEYS {
            self.server.call(&["CB.FORCE", key, "AUTO"]);
            // A first call may find that results under another breaker open it, or that a pin is
            // over. An opening lasts up to an hour.
            for _ in 0..2 {
                self.server.call(&["CB.ACQUIRE", key]);
                self.set_clock(self.now + 7_200_000_000);
            }
            for _ in 0..20 {
                let reply = self.server.call(&["CB.ACQUIRE", key]);
                if reply[0].int() == 1 && reply[1].text() == "half-open" {
                    self.server.call(&["CB.REPORT", key, "OK", "TOKEN", &reply[2].text()]);
                }
            }
            assert_eq!(self.server.call(&["CB.STATE", key]).field("state").text(), "closed");
        }
    }

    /// What people are shown is the same too, and showing changes nothing.
    fn compare(&mut self) {
        for (key, name) in KEYS.iter().enumerate() {
            let shown = self.server.call(&["CB.STATE", name]);
            let now = self.now;
            let (pin, live) = (self.pinned(key), self.live(key));
            if pin.is_none() && live.is_none() {
                assert!(shown.is_nil());
                continue;
            }
            let twin = self.twins[key].as_ref().unwrap();
            let (standing, source) = match pin {
                Some(pin) => (pin, "pin"),
                None if twin.from_caller => (twin.in_force, "last"),
                None => match self.ask_anew(key) {
                    (policy, _) if self.policies[key].is_some() => (policy, "policy"),
                    (given, true) => (given, "last"),
                    (default, false) => (default, "default"),
                },
            };
            let (own, by) = (&self.breakers[twin.in_force], &self.breakers[standing]);
            let mut model = twin.model.clone();
            if live.is_none() {
                let end = model.forgotten_at(own, now).unwrap();
                model = BreakerModel::new(by, end, end.max(model.epoch() + 1));
            }
            model.least_epoch = 0;
            model.look(own, by, now);
            let (calls, failures, slow) = model.tally(by, now);
            let (failing, slowing) = model.reporters(by, now);
            let number = |n: u64| Reply::Int(n.cast_signed());
            let state = match model.state() {
                CircuitState::Open if model.is_due(now) => CircuitState::HalfOpen,
                state => state,
            };
            for (name, value) in [
                ("state", Reply::bulk(state.name())),
                ("calls", number(calls)),
                ("failures", number(failures)),
                ("slow", number(slow)),
                ("openings", number(model.openings().into())),
                ("epoch", number(model.epoch())),
                ("trials_in_flight", number(model.in_flight() as u64)),
                ("breaker", Reply::bulk(by.canonical())),
                ("source", Reply::bulk(source)),
            ] {
                assert_eq!(shown.field(name), value, "{name} of {shown:?}");
            }
            if by.reporters() > 1 {
                let reporters = ["failing_reporters", "slow_reporters"].map(|name| shown.field(name));
                assert_eq!(reporters, [failing, slowing].map(|n| number(n as u64)), "{shown:?}");
            }
        }
    }
}

#[test]
fn random_histories_are_those_of_a_model() {
    let mut server = Server::durable();
    let replica = server.replica_with(&["--appendonly", "no"]);
    let given = [0..BREAKERS.len(), 0..BREAKERS.len(), 0..BREAKERS.len(), 0..BREAKERS.len()];
    let histories = (given, prop::collection::vec(step(), 1..2000));
    run_histories(file!(), 16, &histories, |(given, steps)| {
        server.clock_set(T0);
        server.line("FLUSHALL");
        for key in 0..KEYS.len() {
            server.line(&format!("RL.POLICY DEL p{key}"));
        }
        let mut history = History::new(&server, *given);
        for (number, step) in steps.iter().enumerate() {
            history.step(step);
            if number % 20 == 0 {
                history.compare();
            }
        }
        history.compare();
        history.close_all();
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    });
    assert_survives_kill(&mut server, None);
    assert_eq!(digest(&server, KEYS[0]), digest(&replica, KEYS[0]));
}
