//! Random histories of breakers with bulkheads behind them. Each reply is compared with models that
//! are slow and obviously right: that of a breaker, and a list of reservations. IDs come again, and
//! the clock steps both ways. Reservations are settled, renewed, or left until they end. At the end
//! the replica and the AOF must have followed exactly.

use crate::harness::{Reply, Server, T0, assert_same_data, assert_survives_kill, wait_synced};
use crate::histories::{Transcript, run_histories};
use crate::models::breaker::BreakerModel;
use crate::models::bulkhead::{Bulkhead, BulkheadDenial, BulkheadReservation, DAY, LIMITS, RATE};
use crate::support::{RateLimitReply, denied};
use floodgate::core::breaker::{Breaker, CircuitState, Permit, Report, ReportOutcome};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::Cell;

const BREAKERS: [&str; 3] = [
    "2:open=1s:lease=2s:probes=2",
    "50%/8s:min=3:open=1s:backoff=2:maxopen=4s:lease=1s",
    "34%/5calls:min=3:open=2s:lease=2s:ramp=2s",
];
const BREAKER_KEYS: [&str; 3] = ["{t}a", "{t}b", "{t}c"];
const LIMIT_KEYS: [&str; 2] = ["{t}l", "{t}m"];
const IDS: [&str; 5] = ["v", "w", "x", "y", "z"];

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Pass {
        us: u64,
    },
    ClockBack {
        us: u64,
    },
    Acquire {
        breaker: usize,
        limit: usize,
        clause: Clause,
    },
    Report {
        back: usize,
        outcome: ReportOutcome,
    },
    Settle {
        limit: usize,
        id: WhichId,
        how: Settle,
    },
    /// The same reservations by RL.RESERVE.
    Reserve {
        limit: usize,
        id: &'static str,
    },
    ResetLimit {
        limit: usize,
    },
}

/// The LIMIT clause of a call.
#[derive(Clone, Debug)]
struct Clause {
    cost: i64,
    /// `None` takes units, and reserves none.
    ttl_ms: Option<u64>,
    id: Option<&'static str>,
    critical: bool,
}

impl Clause {
    fn reserves(&self) -> bool {
        self.ttl_ms.is_some()
    }

    fn id(&self) -> Option<&'static str> {
        self.id.filter(|_| self.reserves())
    }

    fn command(&self, key: usize, at: usize) -> String {
        let (breaker, limit) = (format!("{} {}", BREAKER_KEYS[key], BREAKERS[key]), LIMIT_KEYS[at]);
        let limits = if self.reserves() { LIMITS } else { RATE };
        let mut command = format!("CB.ACQUIRE {breaker} LIMIT {limit} {limits} COST {}", self.cost);
        if let Some(ttl) = self.ttl_ms {
            command += &format!(" TTL {ttl}ms");
        }
        if let Some(id) = self.id() {
            command += &format!(" ID {id}");
        }
        if self.critical {
            command += " CRITICAL";
        }
        command
    }

    /// What the limit said, of an answer with a limit.
    fn limit_reply(&self, reply: &Reply) -> RateLimitReply {
        if self.reserves() { reply[4][1].rate_limit() } else { reply[4].rate_limit() }
    }

    /// The open reservation of this ID.
    fn known_in(&self, seen: &Bulkhead) -> Option<BulkheadReservation> {
        self.id().and_then(|id| seen.find(id)).filter(|one| !one.ended).cloned()
    }

    fn denial_in(&self, seen: &Bulkhead, now: u64) -> Option<BulkheadDenial> {
        match self.known_in(seen) {
            Some(_) => None,
            None => seen.denial(self.cost, self.critical, self.reserves(), now),
        }
    }
}

/// What a limit says of a call before anything is changed.
struct LimitBefore {
    /// The limit as it is at the time of the call.
    seen: Bulkhead,
    stepped_back: bool,
    known: Option<BulkheadReservation>,
    denial: Option<BulkheadDenial>,
}

impl LimitBefore {
    fn new(limit: &Bulkhead, clause: &Clause, now: u64) -> Self {
        let seen = limit.at(now);
        let (known, denial) = (clause.known_in(&seen), clause.denial_in(&seen, now));
        Self { seen, stepped_back: now < limit.seen, known, denial }
    }

    /// How long the call has to wait for both, where the breaker says so long: when it would admit the
    /// call, the limit is asked again.
    fn with_breaker(&self, clause: &Clause, wait: Option<u64>, now: u64) -> Option<u64> {
        let mut wait = wait;
        while let Some(us) = wait {
            // Whole milliseconds are told, and at their end a reservation may have ended, too.
            let us = us.div_ceil(1000) * 1000;
            wait = Some(us);
            let then = now + us;
            let mut later = self.seen.at(then);
            if then / DAY > now / DAY {
                later.used = 0;
            }
            let Some(denial) = clause.denial_in(&later, then) else { break };
            wait = denial.wait.map(|more| us + more);
        }
        wait
    }
}

/// The reservation that is settled.
#[derive(Clone, Debug)]
enum WhichId {
    /// One of the key's own, modulo their number.
    Known(usize),
    Any(&'static str),
}

#[derive(Clone, Debug)]
enum Settle {
    Commit { cost: i64 },
    Release,
    Renew,
}

fn step() -> impl Strategy<Value = Step> {
    let limit = || 0..LIMIT_KEYS.len();
    let id = || select(&IDS[..]);
    let clause = (
        select(vec![1, 2, 5, 9, 50]),
        weighted(0.8, select(vec![400, 2_000, 10_000])),
        weighted(0.8, id()),
        prop::bool::weighted(0.25),
    )
        .prop_map(|(cost, ttl_ms, id, critical)| Clause { cost, ttl_ms, id, critical });
    let outcome = prop_oneof![1 => Just(ReportOutcome::Ok), 2 => Just(ReportOutcome::Fail), 1 => Just(ReportOutcome::Ignore)];
    let which = prop_oneof![3 => any::<usize>().prop_map(WhichId::Known), 1 => id().prop_map(WhichId::Any)];
    let how = prop_oneof![
        2 => select(vec![0, 1, 4, 12]).prop_map(|cost| Settle::Commit { cost }),
        1 => Just(Settle::Release),
        1 => Just(Settle::Renew),
    ];
    prop_oneof![
        28 => select(vec![1, 1000, 62_500, 500_000, 1_000_000, 2_000_000]).prop_map(|us| Step::Pass { us }),
        4 => select(vec![1, 400_000, 1_500_000, 9_000_000]).prop_map(|us| Step::ClockBack { us }),
        56 => (0..BREAKERS.len(), limit(), clause)
            .prop_map(|(breaker, limit, clause)| Step::Acquire { breaker, limit, clause }),
        36 => (0..5usize, outcome).prop_map(|(back, outcome)| Step::Report { back, outcome }),
        28 => (limit(), which, how).prop_map(|(limit, id, how)| Step::Settle { limit, id, how }),
        4 => (limit(), id()).prop_map(|(limit, id)| Step::Reserve { limit, id }),
        1 => limit().prop_map(|limit| Step::ResetLimit { limit }),
    ]
}

fn ms(wait: Option<u64>) -> i64 {
    wait.map_or(-1, |us| us.div_ceil(1000).cast_signed())
}

struct History<'s> {
    server: &'s Server,
    breakers: [Breaker; 3],
    now: u64,
    circuits: [Option<BreakerModel>; 3],
    limits: [Bulkhead; 2],
    permits: Vec<(usize, Permit)>,
    last_epoch: u64,
    /// The calls that were granted units, and those that were granted a reservation.
    granted: [i64; 2],
    transcript: Transcript,
}

impl<'s> History<'s> {
    fn new(server: &'s Server) -> Self {
        Self {
            server,
            breakers: BREAKERS.map(|text| Breaker::parse(text.as_bytes()).unwrap()),
            now: T0.cast_unsigned(),
            circuits: [const { None }; 3],
            limits: Default::default(),
            permits: Vec::new(),
            last_epoch: 0,
            granted: [0; 2],
            transcript: Transcript::default(),
        }
    }

    #[track_caller]
    fn line(&self, command: &str) -> Reply {
        let reply = self.server.line(command);
        self.transcript.note(format!("{} {command} → {reply:?}", self.now));
        reply
    }

    fn step(&mut self, step: &Step) {
        // An epoch comes after all that the server has seen, and does not begin in the past.
        let epochs = self.circuits.iter().flatten().map(BreakerModel::epoch);
        self.last_epoch = epochs.fold(self.last_epoch, u64::max);
        for model in self.circuits.iter_mut().flatten() {
            model.least_epoch = self.now.max(self.last_epoch + 1);
        }
        // Debt may not grow to a capacity, which would cut it.
        for limit in 0..LIMIT_KEYS.len() {
            if self.limits[limit].used > 70 {
                self.reset_limit(limit);
            }
        }
        match *step {
            Step::Pass { us } => self.set_clock(self.now + us),
            Step::ClockBack { us } => self.set_clock(self.now - us),
            Step::Acquire { breaker, limit, ref clause } => self.acquire(breaker, limit, clause),
            Step::Report { back, outcome } => self.report(back, outcome),
            Step::Settle { limit, ref id, ref how } => self.settle(limit, id, how),
            Step::Reserve { limit, id } => self.reserve(limit, id),
            Step::ResetLimit { limit } => self.reset_limit(limit),
        }
    }

    fn set_clock(&mut self, now: u64) {
        self.now = now;
        self.server.clock_set(now.cast_signed());
    }

    fn acquire(&mut self, key: usize, at: usize, clause: &Clause) {
        let now = self.now;
        let before = LimitBefore::new(&self.limits[at], clause, now);
        let breaker = &self.breakers[key];
        let mut asked = self.circuits[key].clone();
        let said = asked.as_mut().map(|model| model.acquire(breaker, breaker, now));
        let reply = self.line(&clause.command(key, at));
        match said {
            Some((None, wait, _)) => {
                let model = asked.unwrap();
                let wait = before.with_breaker(clause, wait, now);
                let state = Reply::bulk(model.state().name());
                assert_eq!(
                    reply.items(),
                    [Reply::Int(0), state, Reply::NilBulk, Reply::Int(ms(wait)), Reply::NilBulk]
                );
                self.circuits[key] = Some(model);
                self.denied_on(at, before);
            }
            _ if before.denial.is_some() => {
                self.denied_by_limit(key, &before, clause, &reply);
                self.denied_on(at, before);
            }
            _ => {
                self.admitted(key, asked, said.and_then(|(permit, ..)| permit), &reply);
                self.granted[usize::from(clause.reserves())] += 1;
                self.granted_on(at, before, clause, &reply);
            }
        }
    }

    /// A denial changes the limit only by recording a clock that stepped back.
    fn denied_on(&mut self, at: usize, before: LimitBefore) {
        if before.stepped_back {
            self.limits[at] = before.seen;
        }
    }

    /// Of the breaker nothing changes but a clock that stepped back.
    fn denied_by_limit(&mut self, key: usize, before: &LimitBefore, clause: &Clause, reply: &Reply) {
        let now = self.now;
        let state = match &mut self.circuits[key] {
            None => CircuitState::Closed,
            Some(model) => {
                let mut met = model.clone();
                met.pass(&self.breakers[key], now);
                model.step_back(now);
                met.state()
            }
        };
        let denial = before.denial.as_ref().unwrap();
        let wait = ms(denial.wait);
        assert_eq!((reply[0].int(), reply[1].text(), &reply[2]), (0, state.name().into(), &Reply::NilBulk));
        assert_eq!(reply[3].int(), wait);
        assert_eq!(clause.limit_reply(reply), denied().retry_ms(wait).index(denial.index));
        if clause.reserves() {
            assert_eq!(reply[4][0], Reply::NilBulk);
        }
    }

    /// The breaker lets the call through, with the permit that its model expects, if there was one.
    fn admitted(&mut self, key: usize, asked: Option<BreakerModel>, expected: Option<Permit>, reply: &Reply) {
        let permit = Permit::parse(reply[2].bytes()).unwrap();
        let model = asked.unwrap_or_else(|| {
            let Permit::Closed { epoch } = permit else { panic!("{reply:?}") };
            BreakerModel::new(&self.breakers[key], self.now, epoch)
        });
        if expected.is_some() {
            assert_eq!(Some(permit), expected);
        }
        let state = model.state().name();
        assert_eq!((reply[0].int(), reply[1].text(), reply[3].int()), (1, state.into(), 0));
        self.circuits[key] = Some(model);
        self.permits.push((key, permit));
    }

    fn granted_on(&mut self, at: usize, before: LimitBefore, clause: &Clause, reply: &Reply) {
        let (now, cost, says) = (self.now, clause.cost, clause.limit_reply(reply));
        if let Some(known) = before.known {
            assert_eq!((reply[4][0].text(), says.granted), (known.id, known.cost));
            return;
        }
        assert_eq!((says.granted, says.retry_after_ms), (cost, 0));
        let limit = &mut self.limits[at];
        *limit = before.seen;
        limit.used += cost;
        if let Some(ttl_ms) = clause.ttl_ms {
            let id = clause.id().map_or_else(|| reply[4][0].text(), str::to_owned);
            assert_eq!(reply[4][0].text(), id);
            limit.remove(&id);
            let end = now + ttl_ms * 1000;
            limit.all.push(BulkheadReservation { id, cost, since: now, end, ended: false });
        }
    }

    fn reserve(&mut self, at: usize, id: &str) {
        let now = self.now;
        let reply = self.line(&format!("RL.RESERVE 1 {} {LIMITS} COST 2 TTL 2s ID {id}", LIMIT_KEYS[at]));
        let seen = self.limits[at].at(now);
        let stepped_back = now < self.limits[at].seen;
        if let Some(known) = seen.find(id).filter(|one| !one.ended) {
            assert_eq!((reply[0].text(), reply[1][0].rate_limit().granted), (id.to_owned(), known.cost));
        } else if let Some(denial) = seen.denial(2, false, true, now) {
            assert_eq!(reply[0], Reply::NilBulk);
            let expected = denied().retry_ms(ms(denial.wait)).index(denial.index);
            assert_eq!(reply[1][0].rate_limit(), expected);
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
            limit.all.push(BulkheadReservation {
                id,
                cost: 2,
                since: now,
                end: now + 2_000_000,
                ended: false,
            });
        }
    }

    /// Reports on one of the last calls, counted from the end.
    fn report(&mut self, back: usize, outcome: ReportOutcome) {
        let Some(&(key, permit)) = self.permits.iter().rev().nth(back) else { return };
        let word = match outcome {
            ReportOutcome::Ok => "OK",
            ReportOutcome::Fail => "FAIL",
            ReportOutcome::Ignore => "IGNORE",
        };
        let token = String::from_utf8(permit.text().as_bytes().into()).unwrap();
        let reply = self.line(&format!("CB.REPORT {} {word} TOKEN {token}", BREAKER_KEYS[key]));
        let (breaker, model) = (&self.breakers[key], self.circuits[key].as_mut().unwrap());
        let report = Report::new(outcome, Some(permit), None);
        let (applied, _) = model.report(breaker, breaker, self.now, &report);
        assert_eq!(reply.items(), [Reply::Int(applied.into()), Reply::bulk(model.state().name())]);
    }

    fn settle(&mut self, at: usize, id: &WhichId, how: &Settle) {
        let now = self.now;
        let all = &self.limits[at].all;
        let id = match *id {
            WhichId::Known(nth) if !all.is_empty() => all[nth % all.len()].id.clone(),
            WhichId::Known(nth) => IDS[nth % IDS.len()].to_owned(),
            WhichId::Any(id) => id.to_owned(),
        };
        let name = LIMIT_KEYS[at];
        let reply = self.line(&match how {
            Settle::Commit { cost } => format!("RL.COMMIT {id} 1 {name} COST {cost}"),
            Settle::Release => format!("RL.RELEASE {id} 1 {name}"),
            Settle::Renew => format!("RL.RENEW {id} TTL 2s 1 {name}"),
        });
        let seen = self.limits[at].at(now);
        let Some(one) = seen.find(&id).cloned() else { return assert_eq!(reply, Reply::Int(0)) };
        assert_eq!(reply, Reply::Int(if one.ended { 2 } else { 1 }));
        let more = match how {
            Settle::Commit { cost } => cost - one.cost,
            Settle::Release => -one.cost,
            Settle::Renew if one.ended => return,
            Settle::Renew => {
                self.limits[at] = seen;
                let renewed = self.limits[at].all.iter_mut().find(|one| one.id == id).unwrap();
                (renewed.since, renewed.end) = (now, now + 2_000_000);
                return;
            }
        };
        let limit = &mut self.limits[at];
        *limit = seen;
        limit.used += more;
        limit.remove(&id);
    }

    fn reset_limit(&mut self, at: usize) {
        self.line(&format!("RL.RESET {}", LIMIT_KEYS[at]));
        self.limits[at] = Bulkhead::default();
    }

    fn compare(&mut self) {
        for (at, name) in LIMIT_KEYS.iter().enumerate() {
            let seen = self.limits[at].at(self.now);
            let used = self.server.line(&format!("RL.QUOTA {name} {LIMITS}")).used();
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
            model.least_epoch = 0;
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
    let mut server = Server::durable();
    let replica = server.replica_with(&["--appendonly", "no"]);
    let granted = [const { Cell::new(0) }; 2];
    let histories = prop::collection::vec(step(), 1..1200);
    run_histories(file!(), 15, &histories, |steps| {
        server.clock_set(T0);
        server.line("FLUSHALL");
        let mut history = History::new(&server);
        for step in steps {
            history.step(step);
            history.compare();
        }
        for (all, own) in granted.iter().zip(history.granted) {
            all.set(all.get() + own);
        }
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    });
    let granted = granted.map(|granted| granted.get());
    assert!(granted[0] > 100 && granted[1] > 300, "{granted:?}");
    assert_survives_kill(&mut server, None);
}
