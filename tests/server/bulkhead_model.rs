//! Random histories of breakers with bulkheads behind them, each reply compared with models
//! that are slow and obviously right: a breaker's, and a list of reservations. Ids come
//! again, the clock steps both ways, and reservations are settled, renewed and left to
//! end. At the end replica and AOF must have followed exactly.

use crate::breaker_kit::START;
use crate::breaker_model::Model;
use crate::harness::{Reply, Server, assert_same_data, snapshot, wait_synced};
use crate::support::Dice;
use floodgate::core::breaker::{Breaker, CircuitState, Permit, Report, ReportOutcome};

const BREAKERS: [&str; 3] = [
    "2:open=1s:lease=2s:probes=2",
    "50%/8s:min=3:open=1s:backoff=2:maxopen=4s:lease=1s",
    "34%/5calls:min=3:open=2s:lease=2s:ramp=2s",
];
const BREAKER_KEYS: [&str; 3] = ["{t}a", "{t}b", "{t}c"];
const LIMIT_KEYS: [&str; 2] = ["{t}l", "{t}m"];
const IDS: [&str; 5] = ["v", "w", "x", "y", "z"];

const PLACES: i64 = 3;
const UNITS: i64 = 60;
/// What of them only CRITICAL may use.
const KEPT: i64 = 15;
const LIMITS: &str = "concurrent:3,fixed:60/d:keep=25%";
const RATE: &str = "fixed:60/d:keep=25%";
const DAY: u64 = 86_400_000_000;

#[derive(Clone, Debug)]
struct Reservation {
    id: String,
    cost: i64,
    since: u64,
    end: u64,
    ended: bool,
}

/// What one key of a limit holds.
#[derive(Clone, Debug, Default)]
struct Bulkhead {
    used: i64,
    all: Vec<Reservation>,
    seen: u64,
}

/// Why a call is denied, and for how long; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Denial {
    index: i64,
    wait: Option<u64>,
}

impl Bulkhead {
    /// As it is at `now`: what began later begins now, and what has ended stays so.
    fn at(&self, now: u64) -> Self {
        let mut all = self.clone();
        for one in &mut all.all {
            one.ended |= one.end <= self.seen;
            if one.since > now {
                one.end -= one.since - now;
                one.since = now;
            }
            one.ended |= one.end <= now;
        }
        all.seen = now;
        all
    }

    fn open(&self) -> impl Iterator<Item = &Reservation> {
        self.all.iter().filter(|one| !one.ended)
    }

    fn find(&self, id: &str) -> Option<&Reservation> {
        self.all.iter().find(|one| one.id == id)
    }

    fn remove(&mut self, id: &str) {
        self.all.retain(|one| one.id != id);
    }

    /// What denies `cost` units, and a place where one is wanted: the limit that does so
    /// for longest, the first of equals.
    fn denial(&self, cost: i64, critical: bool, place: bool, now: u64) -> Option<Denial> {
        let capacity = if critical { UNITS } else { UNITS - KEPT };
        let mut found: Option<Denial> = None;
        if place && self.open().count() as i64 >= PLACES {
            let mut ends: Vec<u64> = self.open().map(|one| one.end).collect();
            ends.sort_unstable();
            let free = ends[ends.len() - PLACES as usize];
            found = Some(Denial { index: 0, wait: Some(free - now) });
        }
        if self.used + cost > capacity {
            let midnight = DAY - now % DAY;
            let wait = (cost <= capacity).then_some(midnight);
            let index = i64::from(place);
            let longer = |wait: Option<u64>, than: Option<u64>| match (wait, than) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(wait), Some(than)) => wait > than,
            };
            if found.is_none_or(|found| longer(wait, found.wait)) {
                found = Some(Denial { index, wait });
            }
        }
        found
    }
}

fn ms(wait: Option<u64>) -> i64 {
    wait.map_or(-1, |us| us.div_ceil(1000).cast_signed())
}

struct History<'s> {
    server: &'s Server,
    breakers: [Breaker; 3],
    dice: Dice,
    now: u64,
    circuits: [Option<Model>; 3],
    limits: [Bulkhead; 2],
    permits: Vec<(usize, Permit)>,
    granted: [i64; 2],
}

impl<'s> History<'s> {
    fn new(server: &'s Server, seed: u64) -> Self {
        Self {
            server,
            breakers: BREAKERS.map(|text| Breaker::parse(text.as_bytes()).unwrap()),
            dice: Dice::new(seed),
            now: START.cast_unsigned(),
            circuits: [const { None }; 3],
            limits: Default::default(),
            permits: Vec::new(),
            granted: [0; 2],
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.dice.below(n)
    }

    #[track_caller]
    fn line(&self, command: &str) -> Reply {
        let reply = self.server.line(command);
        println!("{} {command} → {reply:?}", self.now);
        reply
    }

    fn step(&mut self) {
        match self.below(40) {
            0..=6 => {
                let us = [1, 1000, 62_500, 500_000, 1_000_000, 2_000_000][self.below(6)];
                self.set_clock(self.now + us);
            }
            7 => {
                let us = [1, 400_000, 1_500_000, 9_000_000][self.below(4)];
                self.set_clock(self.now - us);
            }
            8..=21 => self.acquire(),
            22..=30 => self.report(),
            31..=37 => self.settle(),
            38 => self.reserve(),
            _ => self.reset(),
        }
    }

    fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.server.clock_set(now.cast_signed());
    }

    fn acquire(&mut self) {
        let (key, at, now) = (self.below(3), self.below(2), self.now);
        let cost = [1, 2, 5, 9, 50][self.below(5)] as i64;
        let ttl = [("400ms", 400_000), ("2s", 2_000_000), ("10s", 10_000_000)][self.below(3)];
        let id = IDS[self.below(IDS.len())];
        let critical = self.below(4) == 0;
        let (reserves, named) = (self.below(5) > 0, self.below(5) > 0);
        let mut command =
            format!("CB.ACQUIRE {} {} LIMIT {}", BREAKER_KEYS[key], BREAKERS[key], LIMIT_KEYS[at]);
        command += &format!(" {} COST {cost}", if reserves { LIMITS } else { RATE });
        if reserves {
            command += &format!(" TTL {}", ttl.0);
        }
        if reserves && named {
            command += &format!(" ID {id}");
        }
        if critical {
            command += " CRITICAL";
        }

        // What the limit says.
        let seen = self.limits[at].at(now);
        let stepped_back = now < self.limits[at].seen;
        let known = seen.find(id).filter(|one| reserves && named && !one.ended).cloned();
        let denial = if known.is_some() { None } else { seen.denial(cost, critical, reserves, now) };
        // What the breaker says.
        let breaker = &self.breakers[key];
        let mut asked = self.circuits[key].clone();
        let said = asked.as_mut().map(|model| model.acquire(breaker, breaker, now));
        let admits = said.is_none_or(|(permit, ..)| permit.is_some());

        let reply = self.line(&command);
        if !admits {
            let (_, wait, _) = said.unwrap();
            let model = asked.unwrap();
            let wait = match denial {
                Some(denial) if denial.wait.is_none() || wait.is_none() => None,
                Some(denial) => wait.max(denial.wait),
                None => wait,
            };
            let state = Reply::bulk(model.state().name());
            assert_eq!(
                reply.items(),
                [Reply::Int(0), state, Reply::NilBulk, Reply::Int(ms(wait)), Reply::NilBulk]
            );
            self.circuits[key] = Some(model);
            return;
        }
        let fifth = if reserves { reply[4][1].to_ints() } else { reply[4].to_ints() };
        if let Some(denial) = denial {
            // Of the breaker nothing changes but a clock that stepped back.
            let state = match &mut self.circuits[key] {
                None => CircuitState::Closed,
                Some(model) => {
                    let mut met = model.clone();
                    met.pass(breaker, now);
                    model.step_back(now);
                    met.state()
                }
            };
            let wait = ms(denial.wait);
            assert_eq!(
                (reply[0].int(), reply[1].text(), &reply[2]),
                (0, state.name().into(), &Reply::NilBulk)
            );
            assert_eq!((reply[3].int(), fifth[0], fifth[3], fifth[5]), (wait, 0, wait, denial.index));
            if reserves {
                assert_eq!(reply[4][0], Reply::NilBulk);
            }
            if stepped_back {
                self.limits[at] = seen;
            }
            return;
        }
        let permit = Permit::parse(reply[2].bytes()).unwrap();
        match (&mut self.circuits[key], said) {
            (circuit @ None, _) => {
                let Permit::Closed { epoch } = permit else { panic!("{reply:?}") };
                *circuit = Some(Model::new(breaker, now, epoch));
            }
            (circuit, Some((expected, ..))) => {
                assert_eq!(Some(permit), expected);
                *circuit = asked;
            }
            (Some(_), None) => unreachable!("a circuit was asked"),
        }
        let state = self.circuits[key].as_ref().unwrap().state();
        assert_eq!((reply[0].int(), reply[1].text(), reply[3].int()), (1, state.name().into(), 0));
        self.permits.push((key, permit));
        self.granted[usize::from(reserves)] += 1;
        if let Some(known) = known {
            assert_eq!((reply[4][0].text(), fifth[0]), (known.id, known.cost));
            return;
        }
        assert_eq!((fifth[0], fifth[3]), (cost, 0));
        let limit = &mut self.limits[at];
        *limit = seen;
        limit.used += cost;
        if reserves {
            let id = if named { id.to_owned() } else { reply[4][0].text() };
            assert_eq!(reply[4][0].text(), id);
            limit.remove(&id);
            limit.all.push(Reservation { id, cost, since: now, end: now + ttl.1, ended: false });
        }
    }

    /// The same reservations by RL.RESERVE.
    fn reserve(&mut self) {
        let (at, now) = (self.below(2), self.now);
        let id = IDS[self.below(IDS.len())];
        let reply = self.line(&format!("RL.RESERVE 1 {} {LIMITS} COST 2 TTL 2s ID {id}", LIMIT_KEYS[at]));
        let seen = self.limits[at].at(now);
        let stepped_back = now < self.limits[at].seen;
        if let Some(known) = seen.find(id).filter(|one| !one.ended) {
            assert_eq!((reply[0].text(), reply[1][0][0].int()), (id.to_owned(), known.cost));
        } else if let Some(denial) = seen.denial(2, false, true, now) {
            let six = reply[1][0].to_ints();
            assert_eq!((&reply[0], six[3], six[5]), (&Reply::NilBulk, ms(denial.wait), denial.index));
            if stepped_back {
                self.limits[at] = seen;
            }
        } else {
            assert_eq!(reply[0].text(), id);
            let limit = &mut self.limits[at];
            *limit = seen;
            limit.used += 2;
            limit.remove(id);
            let id = id.to_owned();
            limit.all.push(Reservation { id, cost: 2, since: now, end: now + 2_000_000, ended: false });
        }
    }

    fn report(&mut self) {
        let back = self.below(5) + 1;
        let Some(&(key, permit)) = self.permits.len().checked_sub(back).map(|at| &self.permits[at]) else {
            return;
        };
        let (word, outcome) = [
            ("OK", ReportOutcome::Ok),
            ("FAIL", ReportOutcome::Fail),
            ("FAIL", ReportOutcome::Fail),
            ("IGNORE", ReportOutcome::Ignore),
        ][self.below(4)];
        let token = String::from_utf8(permit.text().as_bytes().into()).unwrap();
        let reply = self.line(&format!("CB.REPORT {} {word} TOKEN {token}", BREAKER_KEYS[key]));
        let (breaker, model) = (&self.breakers[key], self.circuits[key].as_mut().unwrap());
        let report = Report::new(outcome, Some(permit), None);
        let (applied, _) = model.report(breaker, breaker, self.now, &report);
        assert_eq!(reply.items(), [Reply::Int(applied.into()), Reply::bulk(model.state().name())]);
    }

    fn settle(&mut self) {
        let (at, now) = (self.below(2), self.now);
        // Mostly one that is there.
        let there: Vec<String> = self.limits[at].all.iter().map(|one| one.id.clone()).collect();
        let id = match self.below(there.len() + 1) {
            0 => IDS[self.below(IDS.len())].to_owned(),
            n => there[n - 1].clone(),
        };
        let actual = [0, 1, 4, 12][self.below(4)] as i64;
        let how = self.below(4);
        let name = LIMIT_KEYS[at];
        let reply = self.line(&match how {
            0 | 1 => format!("RL.COMMIT {id} 1 {name} COST {actual}"),
            2 => format!("RL.RELEASE {id} 1 {name}"),
            _ => format!("RL.RENEW {id} TTL 2s 1 {name}"),
        });
        let seen = self.limits[at].at(now);
        let Some(one) = seen.find(&id).cloned() else { return assert_eq!(reply, Reply::Int(0)) };
        assert_eq!(reply, Reply::Int(if one.ended { 2 } else { 1 }));
        if how == 3 {
            if !one.ended {
                self.limits[at] = seen;
                let limit = &mut self.limits[at].all;
                let renewed = limit.iter_mut().find(|one| one.id == id).unwrap();
                (renewed.since, renewed.end) = (now, now + 2_000_000);
            }
            return;
        }
        let limit = &mut self.limits[at];
        *limit = seen;
        limit.used += if how == 2 { -one.cost } else { actual - one.cost };
        limit.remove(&id);
    }

    /// Now and then, and before debt grows to a capacity, which would cut it.
    fn reset(&mut self) {
        for (at, name) in LIMIT_KEYS.iter().enumerate() {
            if self.limits[at].used > 70 || self.dice.below(8) == 0 {
                self.line(&format!("RL.RESET {name}"));
                self.limits[at] = Bulkhead::default();
            }
        }
    }

    fn compare(&mut self) {
        for (at, name) in LIMIT_KEYS.iter().enumerate() {
            if self.limits[at].used > 100 {
                self.line(&format!("RL.RESET {name}"));
                self.limits[at] = Bulkhead::default();
            }
            let seen = self.limits[at].at(self.now);
            let shown = self.server.line(&format!("RL.QUOTA {name} {LIMITS}"));
            let used: Vec<i64> = shown.items().iter().map(|limit| limit.field("used").int()).collect();
            assert_eq!(used, [seen.open().count() as i64, seen.used], "{} {name} {:?}", self.now, seen);
            let listed = self.server.line(&format!("RL.RESERVATIONS {name}"));
            let mut listed: Vec<String> = listed.items().iter().map(|one| one[0].text()).collect();
            let mut open: Vec<String> = seen.open().map(|one| one.id.clone()).collect();
            listed.sort();
            open.sort();
            assert_eq!(listed, open);
        }
        for (key, name) in BREAKER_KEYS.iter().enumerate() {
            let Some(model) = &self.circuits[key] else { continue };
            let mut model = model.clone();
            model.look(&self.breakers[key], &self.breakers[key], self.now);
            let state = match model.state() {
                CircuitState::Open if model.is_due(self.now) => CircuitState::HalfOpen,
                state => state,
            };
            let shown = self.server.line(&format!("CB.STATE {name}"));
            assert_eq!(shown.field("state"), Reply::bulk(state.name()), "{shown:?}");
            assert_eq!(shown.field("epoch"), Reply::Int(model.epoch().cast_signed()), "{shown:?}");
            assert_eq!(shown.field("trials_in_flight"), Reply::Int(model.in_flight() as i64), "{shown:?}");
        }
    }
}

#[test]
fn random_histories_are_those_of_two_models() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let replica = server.replica_with(&["--appendonly", "no"]);
    let mut granted = [0; 2];
    for seed in 1..=10_u64 {
        server.clock_set(START);
        server.line("FLUSHALL");
        let mut history = History::new(&server, seed);
        for _ in 0..900 {
            history.step();
            history.compare();
        }
        granted = [granted[0] + history.granted[0], granted[1] + history.granted[1]];
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    }
    assert!(granted[0] > 100 && granted[1] > 300, "{granted:?}");
    let before = snapshot(&server);
    server.kill9();
    server.restart();
    assert_eq!(snapshot(&server), before);
}
