//! Random histories of queues against a model that knows nothing but the promises: who is granted
//! what, when and in which order, what is in use afterwards, and who still waits. Every reply is
//! compared, with the time after which a request that is denied would be granted.

use crate::harness::{Reply, Server, T0, Wire, assert_same_data, eventually, wait_synced};
use crate::histories::{Transcript, run_histories};
use crate::models::queue::{Outcome, PERIOD, QueueKey, QueueModel, QueuedCall, THROTTLE, Waiter};
use crate::queue::fixtures::{MOMENT, SOON, client_id, counter, queue, used, waiting_now};
use crate::support::RateLimitReply;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

const KEYS: [&str; 2] = ["q:k", "q:l"];
const LIMITS: [u64; 3] = [6, 10, 14];

/// One step of a history. A step does nothing if what it needs is not there.
#[derive(Clone, Debug)]
enum Step {
    Arrive {
        key: QueueKey,
        how: Arrival,
        call: QueuedCall,
    },
    /// A call by CL.THROTTLE or RL.THROTTLE.
    Throttle {
        key: QueueKey,
        units: u64,
        by: &'static str,
    },
    /// A client leaves the queue: the one at this position, modulo the length.
    Leave {
        key: QueueKey,
        nth: usize,
        how: Leave,
    },
    Delete {
        key: QueueKey,
    },
    FlushDatabase {
        db: usize,
        command: &'static str,
    },
    FlushAll,
    SwapDatabases,
    Rename {
        key: QueueKey,
    },
    Move {
        key: QueueKey,
    },
    Copy {
        from: QueueKey,
        to: QueueKey,
    },
    Expire {
        key: QueueKey,
    },
    /// A text takes the key's place, and is deleted.
    Overwrite {
        key: QueueKey,
    },
    Reset {
        key: QueueKey,
    },
    SetPolicy {
        limit: u64,
    },
    DeletePolicy,
    Pin {
        key: QueueKey,
        limit: u64,
    },
    Unpin {
        key: QueueKey,
    },
    Refund {
        key: QueueKey,
        units: u64,
    },
    Pass {
        ms: u64,
    },
    /// Time passes to the very moment of the next grant, with a look one microsecond before.
    PassToNextUnits,
}

#[derive(Clone, Copy, Debug)]
enum Arrival {
    Waits,
    DoesNotWait,
    /// By CB.ACQUIRE, whose breaker is closed.
    BehindBreaker,
    /// As the only item of an RL.BATCH.
    InBatch,
}

#[derive(Clone, Copy, Debug)]
enum Leave {
    HangUp,
    Kill,
    Unblock,
    UnblockWithError,
}

/// The first key of the first database is used most.
fn key() -> impl Strategy<Value = QueueKey> {
    prop_oneof![
        4 => Just(QueueKey { db: 0, key: 0 }),
        4 => (0..2usize, 0..2usize).prop_map(|(db, key)| QueueKey { db, key }),
    ]
}

pub fn call() -> impl Strategy<Value = QueuedCall> {
    let flag = prop::bool::weighted;
    (1..8u64, weighted(0.67, select(&LIMITS[..])), flag(0.17), flag(0.25))
        .prop_map(|(cost, limit, critical, reserves)| QueuedCall { cost, limit, critical, reserves })
}

/// Keys come, go, and change places.
fn key_step() -> impl Strategy<Value = Step> {
    let flush = select(vec!["FLUSHDB", "FLUSHDB ASYNC"]);
    // The same key in the other database, or the other key of the same database.
    let copy = (key(), any::<bool>()).prop_map(|(from, database)| {
        let to = if database { other_database(from) } else { other_key(from) };
        Step::Copy { from, to }
    });
    prop_oneof![
        1 => key().prop_map(|key| Step::Delete { key }),
        1 => (0..2usize, flush).prop_map(|(db, command)| Step::FlushDatabase { db, command }),
        1 => Just(Step::FlushAll),
        1 => Just(Step::SwapDatabases),
        2 => key().prop_map(|key| Step::Rename { key }),
        1 => key().prop_map(|key| Step::Move { key }),
        1 => copy,
        1 => key().prop_map(|key| Step::Expire { key }),
        1 => key().prop_map(|key| Step::Overwrite { key }),
        2 => key().prop_map(|key| Step::Reset { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let limit = || select(&LIMITS[..]);
    let arrival = prop_oneof![
        8 => Just(Arrival::Waits),
        3 => Just(Arrival::DoesNotWait),
        1 => Just(Arrival::BehindBreaker),
        1 => Just(Arrival::InBatch),
    ];
    // Of those who do not wait, half are critical, so that many are denied beside a queue.
    let asks = |call: QueuedCall, critical| QueuedCall { critical: call.critical || critical, ..call };
    let arrives = (key(), arrival, call(), any::<bool>()).prop_map(move |(key, how, call, critical)| {
        let call = match how {
            Arrival::Waits => call,
            Arrival::InBatch => QueuedCall { reserves: false, ..asks(call, critical) },
            Arrival::DoesNotWait | Arrival::BehindBreaker => asks(call, critical),
        };
        Step::Arrive { key, how, call }
    });
    let how = select(vec![Leave::HangUp, Leave::Kill, Leave::Unblock, Leave::UnblockWithError]);
    prop_oneof![
        120 => arrives,
        24 => (key(), 1..8u64, select(vec!["CL.THROTTLE", "RL.THROTTLE"]))
            .prop_map(|(key, units, by)| Step::Throttle { key, units, by }),
        24 => (key(), any::<usize>(), how).prop_map(|(key, nth, how)| Step::Leave { key, nth, how }),
        12 => key_step(),
        5 => limit().prop_map(|limit| Step::SetPolicy { limit }),
        1 => Just(Step::DeletePolicy),
        2 => (key(), limit()).prop_map(|(key, limit)| Step::Pin { key, limit }),
        4 => key().prop_map(|key| Step::Unpin { key }),
        12 => (key(), 1..7u64).prop_map(|(key, units)| Step::Refund { key, units }),
        30 => (1..401u64).prop_map(|ms| Step::Pass { ms }),
        30 => Just(Step::PassToNextUnits),
    ]
}

const fn other_key(key: QueueKey) -> QueueKey {
    QueueKey { key: 1 - key.key, ..key }
}

const fn other_database(key: QueueKey) -> QueueKey {
    QueueKey { db: 1 - key.db, ..key }
}

/// A client that waits.
struct Client {
    wire: Wire,
    id: i64,
}

struct History {
    server: Server,
    replica: Server,
    control: [Wire; 2],
    model: QueueModel<Client>,
    transcript: Transcript,
}

impl History {
    fn begin() -> Self {
        let server = Server::at_t0();
        let replica = server.replica();
        server.ok(&format!("RL.POLICY SET p {} PREFIX q:", text(10)));
        let control = [0, 1].map(|db| {
            let mut wire = server.wire();
            wire.line(&format!("SELECT {db}"));
            wire
        });
        let model = QueueModel::new(T0.cast_unsigned(), 10);
        Self { server, replica, control, model, transcript: Transcript::default() }
    }

    #[track_caller]
    fn run(&mut self, db: usize, line: &str) -> Reply {
        self.transcript.note(format!("{db}> {line}"));
        self.control[db].line(line)
    }

    /// Answers every client that the model can answer now.
    #[track_caller]
    fn settle(&mut self) {
        for (mut waiter, outcome) in self.model.settle() {
            let call = &waiter.call;
            let reply = waiter.who.wire.read_within(SOON);
            let reply = reply.unwrap_or_else(|| panic!("{call:?} gets no answer: {outcome:?}"));
            compare(call, outcome, &reply);
        }
    }

    /// The server must have settled as the model does.
    #[track_caller]
    fn check(&mut self) {
        self.settle();
        for db in 0..2 {
            for (key, name) in KEYS.iter().enumerate() {
                let at = QueueKey { db, key };
                if self.model.is_text(at) {
                    continue;
                }
                let told = self.control[db].line(&format!("RL.QUEUE {name}")).to_ints();
                let head = self.model.head(at).map_or(0, |call| call.cost.cast_signed());
                let expected = (self.model.length(at) as i64, head);
                assert_eq!((told[0], told[2]), expected, "length and cost of the head of {at:?}");
                let quota = self.control[db].line(&format!("RL.QUOTA {name} 10/s"));
                let used = self.model.used(at).cast_signed();
                assert_eq!(quota[0].field("used").int(), used, "units in use on {at:?}");
            }
        }
        let all: usize = self.model.queues.values().map(VecDeque::len).sum();
        assert_eq!(waiting_now(&self.server), all as i64);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Arrive { key, how: Arrival::Waits, call } => self.arrive(key, call),
            Step::Arrive { key, how, ref call } => self.ask(key, how, call),
            Step::Throttle { key, units, by } => self.throttle(key, units, by),
            Step::Leave { key, nth, how } => self.leave(key, nth, how),
            Step::Delete { key } => self.delete(key),
            Step::FlushDatabase { db, command } => {
                self.run(db, command);
                self.model.flush(db);
            }
            Step::FlushAll => {
                self.run(0, "FLUSHALL");
                self.model.flush_all();
            }
            Step::SwapDatabases => {
                self.run(0, "SWAPDB 0 1");
                self.model.swap_databases();
            }
            Step::Rename { key } => self.rename(key),
            Step::Move { key } => self.move_to_other_database(key),
            Step::Copy { from, to } => self.copy(from, to),
            Step::Expire { key } => self.expire(key),
            Step::Overwrite { key } => self.overwrite(key),
            Step::Reset { key } => {
                self.run(key.db, &format!("RL.RESET {}", KEYS[key.key]));
                self.model.reset(key);
            }
            Step::SetPolicy { limit } => {
                assert_eq!(self.run(0, &format!("RL.POLICY SET p {} PREFIX q:", text(limit))), Reply::ok());
                self.model.policy = Some(limit);
            }
            Step::DeletePolicy => {
                self.run(0, "RL.POLICY DEL p");
                self.model.policy = None;
            }
            Step::Pin { key, limit } => {
                let reply = self.run(key.db, &format!("RL.PIN {} {}", KEYS[key.key], text(limit)));
                assert_eq!(reply, Reply::ok());
                self.model.pin(key, limit);
            }
            Step::Unpin { key } => {
                self.run(key.db, &format!("RL.UNPIN {}", KEYS[key.key]));
                self.model.unpin(key);
            }
            Step::Refund { key, units } => self.refund(key, units),
            Step::Pass { ms } => self.pass_to(self.model.now + 1000 * ms),
            Step::PassToNextUnits => self.pass_to_next_units(),
        }
        self.check();
    }

    fn delete(&mut self, key: QueueKey) {
        self.run(key.db, &format!("DEL {}", KEYS[key.key]));
        self.model.delete(key);
    }

    fn rename(&mut self, key: QueueKey) {
        let to = other_key(key);
        let reply = self.run(key.db, &format!("RENAME {} {}", KEYS[key.key], KEYS[to.key]));
        if reply.error().is_none() {
            self.model.rename(key, to);
        } else {
            self.is_missing(key);
        }
    }

    fn move_to_other_database(&mut self, key: QueueKey) {
        let to = other_database(key);
        if self.run(key.db, &format!("MOVE {} {}", KEYS[key.key], to.db)) == Reply::Int(1) {
            self.model.rename(key, to);
        }
    }

    fn copy(&mut self, from: QueueKey, to: QueueKey) {
        let line = format!("COPY {} {} DB {} REPLACE", KEYS[from.key], KEYS[to.key], to.db);
        if self.run(from.db, &line) == Reply::Int(1) {
            self.model.copy(from, to);
        } else {
            self.is_missing(from);
        }
    }

    /// By the server's own clock: by itself, or when somebody looks. The queue may have made it anew by
    /// then.
    fn expire(&mut self, key: QueueKey) {
        let (db, name) = (key.db, KEYS[key.key]);
        self.run(db, &format!("PEXPIRE {name} 1"));
        std::thread::sleep(Duration::from_millis(3));
        self.run(db, &format!("EXISTS {name}"));
        self.model.delete(key);
    }

    fn overwrite(&mut self, key: QueueKey) {
        self.run(key.db, &format!("SET {} text", KEYS[key.key]));
        self.model.becomes_text(key);
        self.check();
        self.delete(key);
    }

    /// Units given back are the newest ones of the limit, which a call by CL.THROTTLE does not name.
    fn refund(&mut self, key: QueueKey, units: u64) {
        let expected = self.model.refund(key, units);
        let reply = self.run(key.db, &format!("RL.REFUND {} {units} 10/s", KEYS[key.key]));
        assert_eq!(reply, Reply::Int(expected.cast_signed()));
    }

    fn pass_to_next_units(&mut self) {
        if let Some(next) = self.model.next_units() {
            self.pass_to(next - 1);
            self.check();
            self.pass_to(next);
        }
    }

    /// A client asks, and does not wait.
    fn ask(&mut self, key: QueueKey, how: Arrival, call: &QueuedCall) {
        let wait = self.model.wait(key, call);
        let behind = self.model.is_behind(key, call.critical);
        let never = self.model.outcome(key, call) == Outcome::Denied;
        let expected = match self.model.arrives(key, call) {
            Outcome::MustWait => Outcome::Denied,
            outcome => outcome,
        };
        let line = match how {
            Arrival::BehindBreaker => command_behind_breaker(key, call),
            Arrival::InBatch => command_in_batch(key, call),
            Arrival::DoesNotWait | Arrival::Waits => command(key, call),
        };
        let reply = self.run(key.db, &line);
        let reply = match how {
            _ if reply.error().is_some() => reply,
            Arrival::InBatch => reply[0].clone(),
            // Of a reservation there is one limit key, not a list of them.
            Arrival::BehindBreaker if call.reserves => {
                let [id, six] = [0, 1].map(|at| reply[4][at].clone());
                Reply::Array(vec![id, Reply::Array(vec![six])])
            }
            Arrival::BehindBreaker => reply[4].clone(),
            Arrival::DoesNotWait | Arrival::Waits => reply,
        };
        compare(call, expected, &reply);
        if expected == Outcome::Denied {
            let six = six(call, &reply);
            assert_eq!(six.retry_after_ms, ms(wait), "{call:?}: {six:?}");
            assert_eq!(six.index, if behind && !never { -2 } else { 0 }, "{call:?}: {six:?}");
        }
    }

    /// A client asks, and waits if it must.
    fn arrive(&mut self, key: QueueKey, call: QueuedCall) {
        let outcome = self.model.arrives(key, &call);
        // The server's own timer would end the wait, long after the test.
        let line = command(key, &call) + " WAIT 30s";
        let mut wire = self.server.wire();
        wire.line(&format!("SELECT {}", key.db));
        let id = client_id(&mut wire);
        self.transcript.note(format!("{}> {line} ({id})", key.db));
        wire.send_line(&line);
        if outcome != Outcome::MustWait {
            let reply = wire.read_within(SOON).expect("an answer at once");
            return compare(&call, outcome, &reply);
        }
        self.wait_for_length(key, self.model.length(key) + 1);
        // Under the debug clock nobody knows when the server's own ends the wait.
        self.model.join(key, Waiter { call, until: None, who: Client { wire, id } });
    }

    /// A client asks by a command that never waits.
    fn throttle(&mut self, key: QueueKey, units: u64, by: &str) {
        let (capacity, count) = THROTTLE;
        let behind = self.model.is_behind(key, false);
        let rounds_up = behind || self.model.pinned(key).is_some();
        let wait = self.model.throttle_wait(key, units);
        let granted = !behind && wait == Some(0);
        let reply = self.run(key.db, &format!("{by} {} {} {count} 2 {units}", KEYS[key.key], capacity - 1));
        let seconds = match wait {
            Some(us) if rounds_up => us.div_ceil(1_000_000).max(1).cast_signed(),
            // redis-cell drops what is less than a millisecond.
            Some(us) => (us / 1000).div_ceil(1000).max(1).cast_signed(),
            None => -1,
        };
        let expected = if granted { (0, -1) } else { (1, seconds) };
        assert_eq!((reply[0].int(), reply[3].int()), expected, "limited and retry of {units} on {key:?}");
        if granted {
            self.model.throttle(key, units);
        }
    }

    #[track_caller]
    fn wait_for_length(&mut self, key: QueueKey, length: usize) {
        let expected = Reply::Int(length as i64);
        eventually(SOON, "the queue has its length", || {
            self.control[key.db].line(&format!("RL.QUEUE {}", KEYS[key.key]))[0] == expected
        });
    }

    fn leave(&mut self, key: QueueKey, nth: usize, how: Leave) {
        let length = self.model.length(key);
        if length == 0 {
            return;
        }
        let waiter = self.model.queues.get_mut(&key).unwrap().remove(nth % length).unwrap();
        let (call, Client { mut wire, id }) = (waiter.call, waiter.who);
        let line = match how {
            Leave::HangUp => {
                self.transcript.note(format!("{id} hangs up"));
                drop(wire);
                // The server sees it a little later, and may have served others by then.
                self.settle();
                return self.wait_for_length(key, self.model.length(key));
            }
            Leave::Kill => format!("CLIENT KILL ID {id}"),
            Leave::Unblock => format!("CLIENT UNBLOCK {id}"),
            Leave::UnblockWithError => format!("CLIENT UNBLOCK {id} ERROR"),
        };
        assert_eq!(self.run(0, &line), Reply::Int(1));
        if let Leave::Kill = how {
            return assert!(wire.closes_within(SOON));
        }
        let reply = wire.read_within(SOON).expect("the client is unblocked");
        if let Leave::Unblock = how {
            compare(&call, self.model.at_last(key, &call), &reply);
        } else {
            assert!(reply.error().is_some_and(|text| text.starts_with("UNBLOCKED")), "{reply:?}");
        }
    }

    #[track_caller]
    fn is_missing(&self, key: QueueKey) {
        assert!(!self.model.must_be_there(key), "the key {key:?} is gone, but should not be");
    }

    fn pass_to(&mut self, now: u64) {
        self.transcript.note(format!("time passes: {} ms", (now - self.model.now) / 1000));
        self.model.now = now;
        self.server.clock_set(now.cast_signed());
    }

    /// In the end everybody is answered, and the replica has everything. Returns the number of
    /// waiters that were served.
    fn end(mut self) -> i64 {
        wait_synced(&self.server, &self.replica);
        assert_same_data(&self.server, &self.replica);
        let mut waiters: Vec<_> = std::mem::take(&mut self.model.queues).into_values().flatten().collect();
        for waiter in &mut waiters {
            waiter.who.wire.assert_blocked_for(MOMENT / 30);
        }
        // Each second serves the heads of all queues, at the least.
        while waiting_now(&self.server) > 0 {
            self.pass_to(self.model.now + 2 * PERIOD);
            assert!(self.model.now < T0.cast_unsigned() + 1000 * PERIOD, "nobody is forgotten");
        }
        self.pass_to(self.model.now + 60 * PERIOD);
        for mut waiter in waiters {
            waiter.who.wire.read_within(SOON).expect("nobody is forgotten");
        }
        assert_eq!(waiting_now(&self.server), 0);
        for key in KEYS {
            assert_eq!((queue(&self.server, key)[0], used(&self.server, key)), (0, 0));
        }
        counter(&self.server, "served")
    }
}

/// The limit of so many units. The model knows what of them only critical requests may use.
fn text(limit: u64) -> String {
    format!("{limit}/s:keep=30%")
}

pub fn ms(wait: Option<u64>) -> i64 {
    // Who is denied is not told to come back at once.
    wait.map_or(-1, |us| us.div_ceil(1000).max(1).cast_signed())
}

/// The six integers of a reply.
pub fn six(call: &QueuedCall, reply: &Reply) -> RateLimitReply {
    if call.reserves { reply[1][0].rate_limit() } else { reply.rate_limit() }
}

pub fn command(key: QueueKey, call: &QueuedCall) -> String {
    let name = KEYS[key.key];
    let (limits, cost) = limits_and_cost(call);
    if call.reserves {
        format!("RL.RESERVE 1 {name} {limits} TTL 10s {cost}")
    } else {
        format!("RL.ACQUIRE {name} {limits} {cost}")
    }
}

fn command_behind_breaker(key: QueueKey, call: &QueuedCall) -> String {
    let (limits, cost) = limits_and_cost(call);
    let ttl = if call.reserves { " TTL 10s" } else { "" };
    format!("CB.ACQUIRE breaker 50%/60s LIMIT {} {limits}{ttl} {cost}", KEYS[key.key])
}

fn command_in_batch(key: QueueKey, call: &QueuedCall) -> String {
    let limits = call.limit.map_or("*".to_owned(), text);
    let critical = if call.critical { " CRITICAL" } else { "" };
    format!("RL.BATCH EACH 1 {} {limits} {}{critical}", KEYS[key.key], call.cost)
}

fn limits_and_cost(call: &QueuedCall) -> (String, String) {
    let critical = if call.critical { " CRITICAL" } else { "" };
    (call.limit.map_or("*".to_owned(), text), format!("COST {}{critical}", call.cost))
}

#[track_caller]
fn compare(call: &QueuedCall, outcome: Outcome, reply: &Reply) {
    let right = match (outcome, reply.error()) {
        (Outcome::Refused(why), Some(error)) => error.replace("item 1: ", "").starts_with(why),
        (_, Some(_)) | (Outcome::Refused(_), None) => false,
        (outcome, None) => {
            let limit = six(call, reply);
            let granted = outcome == Outcome::Granted;
            let named = !call.reserves || reply[0].is_nil() != granted;
            named && limit.granted == if granted { call.cost.cast_signed() } else { 0 }
        }
    };
    assert!(right, "{call:?} should be {outcome:?}, but the reply is {reply:?}");
}

#[test]
fn random_histories_lose_no_unit_and_forget_nobody() {
    let served = Cell::new(0);
    run_histories(file!(), 6, &prop::collection::vec(step(), 1..400), |steps| {
        let mut history = History::begin();
        for step in steps {
            history.step(step);
        }
        served.set(served.get() + history.end());
    });
    assert!(served.get() > 30, "{served:?}");
}
