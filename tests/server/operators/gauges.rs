//! Gauges, and counts of what ends by time, on a server where nobody touches the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::harness::{Reply, Server, T0, assert_same_data, call, eventually, wait_synced};
use crate::support::Dice;

const STATES: [&str; 5] = ["closed", "open", "half-open", "forced-open", "forced-closed"];

/// Breakers by state, in the order of [`STATES`].
fn breakers(server: &Server) -> [i64; 5] {
    STATES.map(|state| server.counter(&format!("breakers_{}", state.replace('-', "_"))))
}

fn reservations(server: &Server) -> (i64, i64) {
    (server.counter("reservations_held"), server.counter("reservations_expired"))
}

/// What time alone counts: lost trials, to closed, to open.
fn by_time(server: &Server) -> [i64; 3] {
    ["breaker_lost_trials", "breaker_to_closed", "breaker_to_open"].map(|name| server.counter(name))
}

#[test]
fn what_time_has_ended_is_gone() {
    let server = Server::at_t0();
    server.line("CB.FORCE mail OPEN FOR 1s");
    server.line("RL.RESERVE 1 llm 1000/d,concurrent:5 COST 10 TTL 1s ID dead");
    assert_eq!((breakers(&server), reservations(&server)), ([0, 0, 0, 1, 0], (1, 0)));
    server.clock_advance(999_999);
    assert_eq!((breakers(&server), reservations(&server)), ([0, 0, 0, 1, 0], (1, 0)));
    server.clock_advance(1);
    assert_eq!((breakers(&server), reservations(&server)), ([1, 0, 0, 0, 0], (0, 1)));
    let metrics = server.line("RL.METRICS");
    assert_eq!(metrics.field("reservations_held"), Reply::Int(0));
    assert_eq!(
        (metrics.field("breakers_forced_open"), metrics.field("breaker_to_closed")),
        (Reply::Int(0), Reply::Int(1))
    );
    // Whoever touches them now finds it, and nothing counts twice.
    assert_eq!(server.line("RL.COMMIT dead 1 llm"), Reply::Int(2));
    server.line("CB.ACQUIRE mail");
    assert_eq!((breakers(&server), reservations(&server)), ([1, 0, 0, 0, 0], (0, 1)));
    assert_eq!(by_time(&server), [0, 1, 0]);
}

#[test]
fn a_breaker_that_nobody_calls_goes_through_all_that_time_does() {
    let server = Server::at_t0();
    server.line("CB.REPORT pay FAIL BREAKER 1:open=10s:lease=5s:backoff=2");
    assert_eq!(breakers(&server), [0, 1, 0, 0, 0]);
    server.clock_advance(10_000_000);
    assert_eq!(
        (breakers(&server), server.line("CB.STATE pay").field("state").text()),
        ([0, 0, 1, 0, 0], "half-open".into())
    );
    // A trial that never comes back: lost, open again, and past the deadline again.
    server.line("CB.ACQUIRE pay");
    for (advance, state, counts) in [
        (4_999_999, [0, 0, 1, 0, 0], [0, 0, 1]),
        (1, [0, 1, 0, 0, 0], [1, 0, 2]),
        (19_999_999, [0, 1, 0, 0, 0], [1, 0, 2]),
        (1, [0, 0, 1, 0, 0], [1, 0, 2]),
    ] {
        server.clock_advance(advance);
        assert_eq!((breakers(&server), by_time(&server)), (state, counts));
    }
    assert_eq!(server.counter("breaker_to_half_open"), 1);
    server.line("CB.ACQUIRE pay");
    assert_eq!((by_time(&server), server.counter("breaker_to_half_open")), ([1, 0, 2], 2));
}

#[test]
fn by_the_servers_own_clock_and_where_the_key_ends_with_it() {
    let server = Server::start();
    // A key that ends with its last reservation, and one that does not.
    server.line("RL.RESERVE 1 gone concurrent:5 TTL 300ms ID a");
    server.line("RL.RESERVE 1 stays 1000/d,concurrent:5 TTL 300ms ID b");
    server.line("CB.FORCE mail OPEN FOR 300ms");
    server.line("CB.REPORT pay FAIL BREAKER 1:open=300ms");
    assert_eq!((breakers(&server), reservations(&server)), ([0, 1, 0, 1, 0], (2, 0)));
    std::thread::sleep(Duration::from_millis(1300));
    assert_eq!((breakers(&server), reservations(&server)), ([1, 0, 1, 0, 0], (0, 2)));
    assert_eq!(server.line("EXISTS gone stays"), Reply::Int(1));
    assert_eq!(by_time(&server), [0, 1, 1]);
}

/// An AOF is a log of what was done: what ended since then ended before the start.
#[test]
fn what_ended_before_the_start_is_not_counted() {
    let mut server = Server::durable();
    server.line("RL.RESERVE 1 k 1000/d,concurrent:5 TTL 300ms ID a");
    server.line("CB.FORCE mail OPEN FOR 300ms");
    assert_eq!((breakers(&server), reservations(&server)), ([0, 0, 0, 1, 0], (1, 0)));
    server.kill9();
    std::thread::sleep(Duration::from_millis(350));
    server.restart();
    assert_eq!((breakers(&server), reservations(&server)), ([1, 0, 0, 0, 0], (0, 0)));
    assert_eq!(by_time(&server), [0, 0, 0]);
    assert_eq!(server.line("RL.RELEASE a 1 k"), Reply::Int(2));
    assert_eq!(reservations(&server), (0, 0));
}

#[test]
fn deleted_copied_renamed_flushed_reloaded() {
    let server = Server::with(&["--hz", "100"]);
    server.clock_set(T0);
    let open = || {
        for key in ["r1", "r2"] {
            server.call(&["RL.RESERVE", "1", key, "1000/d,concurrent:5", "TTL", "10s", "ID", "x"]);
        }
        server.line("CB.FORCE f OPEN FOR 10s");
        server.line("CB.REPORT o FAIL BREAKER 1:open=10s");
    };
    open();
    // A copy has reservations and a force of its own.
    server.line("COPY r1 r3");
    server.line("COPY f f2");
    server.line("RENAME r2 other");
    let mut elsewhere = server.wire();
    server.line("MOVE o 3");
    assert_eq!((breakers(&server), reservations(&server)), ([0, 1, 0, 2, 0], (3, 0)));
    server.clock_advance(10_000_000);
    assert_eq!((breakers(&server), reservations(&server)), ([2, 0, 1, 0, 0], (0, 3)));
    // What has ended before it is loaded, copied or restored does not count again.
    server.line("COPY r1 r4");
    server.line("COPY f f3");
    let payload = server.line("DUMP r1");
    call!(server, "RESTORE", "r5", 0, payload.bytes());
    server.ok("DEBUG RELOAD");
    server.clock_advance(1_000_000);
    assert_eq!((reservations(&server), by_time(&server)), ((0, 3), [0, 2, 1]));
    // Valkey frees the values that were there before beside its work.
    eventually(Duration::from_secs(30), "the values before are gone", || {
        breakers(&server) == [3, 0, 1, 0, 0]
    });
    // What is deleted before its time does not end.
    open();
    elsewhere.line("SELECT 3");
    elsewhere.line("DEL o");
    server.line("DEL r1");
    assert_eq!(reservations(&server).1, 3);
    server.ok("FLUSHALL SYNC");
    eventually(Duration::from_secs(30), "nothing is left", || {
        (breakers(&server), reservations(&server)) == ([0; 5], (0, 3))
    });
    server.clock_advance(60_000_000);
    assert_eq!((reservations(&server), by_time(&server)), ((0, 3), [0, 2, 2]));
}

#[test]
fn on_a_replica_and_after_a_failover() {
    let server = Server::at_t0();
    let replica = server.replica();
    replica.clock_set(T0);
    server.line("RL.RESERVE 1 llm 1000/d,concurrent:5 TTL 10s ID a");
    server.line("CB.FORCE mail OPEN FOR 10s");
    server.line("CB.FORCE post CLOSED FOR 20s");
    wait_synced(&server, &replica);
    assert_eq!((breakers(&replica), reservations(&replica)), ([0, 0, 0, 1, 1], (1, 0)));
    replica.clock_advance(10_000_000);
    assert_eq!((breakers(&replica), reservations(&replica)), ([1, 0, 0, 0, 1], (0, 1)));
    // Transitions are the master's to count.
    assert_eq!(by_time(&replica), [0, 0, 0]);
    replica.ok("REPLICAOF NO ONE");
    replica.clock_advance(10_000_000);
    eventually(Duration::from_secs(30), "it is a master", || {
        replica.clock_advance(0);
        breakers(&replica) == [2, 0, 0, 0, 0]
    });
    assert_eq!((breakers(&server), reservations(&server)), ([0, 0, 0, 1, 1], (1, 0)));
}

#[test]
fn after_a_clock_that_stepped_back() {
    let server = Server::at_t0();
    server.line("CB.FORCE mail OPEN FOR 10s");
    server.line("RL.RESERVE 1 llm 1000/d,concurrent:5 TTL 10s ID a");
    for (at, states, held) in
        [(11, [1, 0, 0, 0, 0], (0, 1)), (5, [0, 0, 0, 1, 0], (1, 1)), (12, [1, 0, 0, 0, 0], (0, 1))]
    {
        server.clock_set(T0 + at * 1_000_000);
        assert_eq!((breakers(&server), reservations(&server)), (states, held), "at {at} s");
    }
    assert_eq!(by_time(&server), [0, 1, 0]);
}

/// A command on one of four keys, or time that passes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve { key: usize, ttl_ms: u64 },
    Release { key: usize, id: u64 },
    Renew { key: usize, id: u64 },
    Remove { key: usize, command: &'static str },
    Fail { key: usize },
    Admit { key: usize },
    Force { key: usize, state: &'static str },
    Rename { key: usize },
    Pass { ms: i64 },
}

const QUICK_BREAKER: &str = "50%/5calls:min=2:open=2s:probes=2:lease=1s";

impl Step {
    /// The step of this number.
    fn drawn(dice: &mut Dice, number: u64) -> Self {
        let key = dice.below(4_usize);
        match dice.below(14) {
            0..=1 => Self::Reserve { key, ttl_ms: 1 + dice.below(8_000_u64) },
            2 => Self::Release { key, id: dice.below(number + 1) },
            3 => Self::Renew { key, id: dice.below(number + 1) },
            4 if number.is_multiple_of(3) => {
                Self::Remove { key, command: ["DEL", "RL.RESET", "UNLINK"][dice.below(3_usize)] }
            }
            5 => Self::Fail { key },
            6..=7 => Self::Admit { key },
            8 => {
                let state = ["OPEN FOR 2s", "CLOSED FOR 1500ms", "AUTO", "OPEN"][dice.below(4_usize)];
                Self::Force { key, state }
            }
            9 if number.is_multiple_of(5) => Self::Rename { key },
            _ => Self::Pass { ms: dice.below(1500_i64) },
        }
    }
}

/// What the gauges are compared with: reservations by key and number, with the ends of those that are
/// open.
struct GaugeHistory<'s> {
    server: &'s Server,
    now: i64,
    open: BTreeMap<(usize, u64), i64>,
    ended: i64,
    /// The reservations that had ended by time when it began.
    ended_before: i64,
}

impl<'s> GaugeHistory<'s> {
    fn new(server: &'s Server, now: i64) -> Self {
        server.ok("FLUSHALL SYNC");
        let ended_before = reservations(server).1;
        server.clock_set(now);
        Self { server, now, open: BTreeMap::new(), ended: 0, ended_before }
    }

    fn step(&mut self, number: u64, step: Step) {
        let line = |command: &str| self.server.line(command);
        match step {
            Step::Reserve { key, ttl_ms } => {
                let limits = "100000/d,concurrent:9999";
                let reply = line(&format!("RL.RESERVE 1 r{key} {limits} TTL {ttl_ms}ms ID i{number}"));
                assert!(!reply[0].is_nil());
                self.open.insert((key, number), self.now + i64::try_from(ttl_ms).unwrap() * 1000);
            }
            Step::Release { key, id } => {
                let settled = line(&format!("RL.RELEASE i{id} 1 r{key}")).int();
                assert_eq!(settled == 1, self.open.remove(&(key, id)).is_some());
            }
            Step::Renew { key, id } => {
                if line(&format!("RL.RENEW i{id} TTL 4s 1 r{key}")).int() == 1 {
                    self.open.insert((key, id), self.now + 4_000_000);
                }
            }
            Step::Remove { key, command } => {
                line(&format!("{command} r{key}"));
                self.open.retain(|(of, _), _| *of != key);
            }
            Step::Fail { key } => drop(line(&format!("CB.REPORT b{key} FAIL BREAKER {QUICK_BREAKER}"))),
            Step::Admit { key } => drop(line(&format!("CB.ACQUIRE b{key} {QUICK_BREAKER}"))),
            Step::Force { key, state } => drop(line(&format!("CB.FORCE b{key} {state}"))),
            Step::Rename { key } => drop(line(&format!("RENAME b{key} b{}", (key + 1) % 4))),
            Step::Pass { ms } => {
                self.now += ms * 1000;
                self.server.clock_set(self.now);
            }
        }
        let count = self.open.len();
        self.open.retain(|_, end| *end > self.now);
        self.ended += i64::try_from(count - self.open.len()).unwrap();
    }

    /// The states of the breakers as CB.STATE tells them, key by key.
    fn states(&self) -> [i64; 5] {
        let mut states = [0; 5];
        for key in 0..4 {
            let shown = self.server.line(&format!("CB.STATE b{key}"));
            if !shown.is_nil() {
                let state = shown.field("state").text();
                states[STATES.iter().position(|name| *name == state).unwrap()] += 1;
            }
        }
        states
    }

    fn compare(&self, what: &str) {
        assert_eq!(breakers(self.server), self.states(), "{what}");
        let open = i64::try_from(self.open.len()).unwrap();
        assert_eq!(reservations(self.server), (open, self.ended_before + self.ended), "{what}");
        let listed = |key| self.server.line(&format!("RL.RESERVATIONS r{key}")).items().len();
        assert_eq!((0..4).map(listed).sum::<usize>(), self.open.len(), "{what}");
    }

    /// Whoever settles what time has done finds nothing new.
    fn settle_finds_nothing(&self, what: &str) {
        let before = (by_time(self.server), self.states());
        for key in 0..4 {
            let state = self.server.line(&format!("CB.STATE b{key}"));
            if !state.is_nil() && state.field("forced").is_nil() {
                self.server.line(&format!("CB.FORCE b{key} AUTO"));
            }
        }
        assert_eq!((by_time(self.server), breakers(self.server)), before, "{what}");
    }
}

/// Any commands on some keys, by a clock that goes on: the gauges say what commands say of
/// each key, and what ended is counted once, whoever finds it.
#[test]
fn gauges_say_what_commands_say() {
    let server = Server::at_t0();
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let start = T0 + i64::try_from(seed).unwrap() * 100_000_000_000;
        let mut history = GaugeHistory::new(&server, start);
        for number in 0..150 {
            let step = Step::drawn(&mut dice, number);
            let what = format!("seed {seed}, step {number}: {step:?}");
            history.step(number, step);
            history.compare(&what);
            if dice.below(10) == 0 {
                history.settle_finds_nothing(&what);
            }
        }
        assert!(history.ended > 0);
    }
}

/// Each name that RL.TOP OPEN gives, with its state.
fn open(server: &Server) -> Vec<(String, String)> {
    server.line("RL.TOP OPEN").items().iter().map(|row| (row[0].text(), row[1].text())).collect()
}

fn names(server: &Server) -> BTreeSet<String> {
    open(server).into_iter().map(|(name, _)| name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Those that RL.METRICS gives.
fn measured(server: &Server) -> BTreeSet<String> {
    let pairs = server.line("RL.METRICS").field("breakers_open_since_ms").pairs();
    let names: BTreeSet<String> = pairs.iter().map(|(name, _)| name.text()).collect();
    assert_eq!(names.len(), pairs.len(), "each name once: {pairs:?}");
    names
}

/// What a client that is in this database alone is told.
fn in_database(server: &Server, database: u32, command: &str) -> Reply {
    let mut client = server.wire();
    client.line(&format!("SELECT {database}"));
    client.line(command)
}

/// Valkey 8.1 to 9.1.1 leave a client in the database of the key that modules are told of.
#[test]
fn a_client_stays_in_its_database() {
    let server = Server::at_t0();
    let mut client = server.wire();
    client.line("SELECT 2");
    // From here on we are told of keys that come from elsewhere.
    client.line("CB.REPORT b FAIL BREAKER 1:open=1h");
    client.line("RENAME b b2");
    for key in ["b2", "plain"] {
        let mut client = server.wire();
        for command in [
            "SELECT 2",
            "SET plain text",
            "COPY plain copy",
            "COPY plain copy DB 3",
            "COPY plain copy DB 3 REPLACE",
            "MOVE copy 4",
            "copy plain copy REPLACE DB 5",
        ] {
            client.line(&command.replace("plain", key));
            client.line("SET here 2");
            assert_eq!(server.line("GET here"), Reply::NilBulk, "{command}");
            assert_eq!(in_database(&server, 2, "DEL here"), Reply::Int(1), "{command}");
        }
        for command in ["MULTI", "COPY copy moved", "MOVE moved 6", "SET here 2", "EXEC"] {
            client.line(command);
        }
        assert_eq!(in_database(&server, 2, "DEL here"), Reply::Int(1), "in a transaction");
        client.line("FLUSHALL");
        client.line("CB.REPORT b2 FAIL BREAKER 1:open=1h");
    }
}

/// In a transaction the server shows a COPY when it is queued. Each command that follows it, in
/// the transaction and after it, runs where the client is.
#[test]
fn a_transaction_stays_in_its_databases() {
    let server = Server::at_t0();
    let mut client = server.wire();
    client.line("SELECT 2");
    client.line("CB.REPORT b FAIL BREAKER 1:open=1h");
    client.line("COPY b told DB 7");
    client.line("SET plain text");
    client.line("SET taken text");
    let transactions: &[(&[&str], u32)] = &[
        (&["COPY plain c1 DB 3", "SET here 1"], 2),
        (&["COPY b c2 DB 3", "SET here 1"], 2),
        (&["copy plain c3 db 3", "COPY plain c4 DB 4 REPLACE", "SET here 1"], 2),
        // The first copies nothing.
        (&["COPY plain taken", "COPY plain c5 DB 3", "SET here 1"], 2),
        (&["COPY absent c0 DB 3", "SELECT 4", "COPY c4 c6 DB 3", "SET here 1"], 4),
        (&["COPY plain c7 DB 3", "SELECT 3", "COPY c7 c8 DB 5", "SET here 1", "SELECT 2"], 3),
        (&["MOVE taken 3", "COPY plain c9 DB 3", "SET here 1"], 2),
    ];
    for (commands, database) in transactions {
        // Queued and given up; then another client's transaction runs between.
        for command in ["MULTI", "SELECT 9", "COPY plain c1 DB 8", "DISCARD", "MULTI"] {
            client.line(command);
        }
        for command in *commands {
            assert_eq!(client.line(command), Reply::Simple("QUEUED".into()), "{command}");
        }
        let mut between = server.wire();
        for command in ["MULTI", "SET x 1", "COPY x y DB 1 REPLACE", "SET x 2", "EXEC"] {
            between.line(command);
        }
        assert_eq!(between.line("GET x").text(), "2");
        client.line("EXEC");
        assert_eq!(in_database(&server, *database, "DEL here"), Reply::Int(1), "{commands:?}");
        let back = if commands.contains(&"SELECT 4") { 4 } else { 2 };
        client.line("SET after 1");
        assert_eq!(in_database(&server, back, "DEL after"), Reply::Int(1), "{commands:?}");
        client.line("SELECT 2");
    }
}

/// A script has a database of its own: first that of its caller.
#[test]
fn a_script_stays_in_its_database() {
    let server = Server::at_t0();
    let mut client = server.wire();
    client.line("SELECT 2");
    client.line("CB.REPORT b FAIL BREAKER 1:open=1h");
    client.line("COPY b told DB 7");
    client.line("SET plain text");
    let copies = "redis.call('copy', 'plain', 'c', 'DB', 5, 'REPLACE'); redis.call('set', 'here', 1)";
    let selects = format!("redis.call('select', 3); redis.call('set', 'plain', 1); {copies}");
    for (script, database) in [(copies, 2), (&*selects, 3)] {
        for transaction in [false, true] {
            if transaction {
                client.line("MULTI");
            }
            call!(client, "EVAL", script, 0);
            client.line("SET after 1");
            if transaction {
                client.line("EXEC");
            }
            for (database, delete) in [(database, "DEL here"), (2, "DEL after")] {
                assert_eq!(in_database(&server, database, delete), Reply::Int(1), "{script}, {transaction}");
            }
        }
    }
}

/// The first key that comes from elsewhere comes by a COPY to another database: from it on we
/// are told of such keys.
#[test]
fn the_first_copy_leaves_its_client_in_its_database() {
    for comes in ["RL.PIN k 6/s", "RL.BLOCK k FOREVER", "CB.REPORT k FAIL BREAKER 1:open=1h"] {
        for command in ["COPY k k DB 1 REPLACE", "COPY k k2 DB 1", "MOVE k 1"] {
            let server = Server::at_t0();
            assert!(server.line(comes).error().is_none(), "{comes}");
            assert_eq!(server.line(command), Reply::Int(1));
            server.line("SET here 2");
            assert_eq!(server.line("GET here").text(), "2", "{comes}, {command}");
        }
    }
}

#[test]
fn open_breakers_are_found_whatever_they_are_renamed_to() {
    let server = Server::at_t0();
    let mut other = server.wire();
    other.line("SELECT 3");
    server.line("CB.REPORT a FAIL BREAKER 1:open=1h");
    server.line("CB.REPORT b FAIL BREAKER 1:open=1h");
    server.line("SET plain x");
    for (command, expected) in [
        ("RENAME a a2", &["a2", "b"][..]),
        ("RENAMENX a2 a3", &["a3", "b"]),
        ("RENAME plain plain2", &["a3", "b"]),
        ("COPY a3 c", &["a3", "b", "c"]),
        ("COPY c d DB 3", &["a3", "b", "c", "d"]),
        ("MOVE b 3", &["a3", "b", "c", "d"]),
        ("RENAME c a3", &["a3", "b", "d"]),
        ("SET a3 plain", &["b", "d"]),
        ("SWAPDB 0 3", &["b", "d"]),
        ("RENAME d e", &["b", "e"]),
        ("DEL e", &["b"]),
        ("SWAPDB 0 3", &["b"]),
    ] {
        let reply = server.line(command);
        assert!(reply.error().is_none(), "{command}: {reply:?}");
        assert_eq!((names(&server), measured(&server)), (set(expected), set(expected)), "after {command}");
    }
    assert_eq!(server.counter("breakers_open"), 1);
    // After a reload, and restored, in whichever database.
    let payload = other.line("DUMP b");
    server.ok("DEBUG RELOAD");
    assert_eq!(names(&server), set(&["b"]));
    other.line("RENAME b again");
    assert_eq!(names(&server), set(&["again"]));
    call!(other, "RESTORE", "restored", 0, payload.bytes());
    assert_eq!(names(&server), set(&["again", "restored"]));
    other.line("FLUSHDB");
    assert_eq!(names(&server), set(&[]));
}

#[test]
fn one_name_in_two_databases_stands_once() {
    let server = Server::at_t0();
    let mut other = server.wire();
    other.line("SELECT 3");
    other.line("CB.REPORT x FAIL BREAKER 1:open=1h");
    server.clock_advance(1_000_000);
    server.line("CB.FORCE x OPEN");
    server.line("CB.FORCE y OPEN");
    // For whoever asks it is the one that CB.STATE tells of.
    let x = |state: &str| ("x".to_owned(), state.to_owned());
    assert!(open(&server).contains(&x("forced-open")) && open(&server).len() == 2);
    assert_eq!(measured(&server), set(&["x", "y"]));
    let rows = other.line("RL.TOP OPEN");
    assert!(rows.items().iter().any(|row| (row[0].text(), row[1].text()) == x("open")), "{rows:?}");
    assert_eq!(rows.items().len(), 2);
    server.line("DEL x");
    assert!(open(&server).contains(&x("open")));
}

/// A policy may change what a circuit is: RL.TOP says what CB.STATE says.
#[test]
fn a_changed_policy_shows_in_the_list() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 1:open=1s:probes=2:lease=1m");
    server.line("CB.REPORT svc:a FAIL");
    server.clock_advance(1_000_000);
    let token = server.line("CB.ACQUIRE svc:a")[2].text();
    server.line(&format!("CB.REPORT svc:a OK TOKEN {token}"));
    assert_eq!(open(&server), [("svc:a".to_owned(), "half-open".to_owned())]);
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 1:open=1s:probes=1:lease=1m");
    assert_eq!(server.line("CB.STATE svc:a").field("state"), Reply::bulk("closed"));
    assert_eq!(open(&server), []);
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 1:open=1s:probes=3:lease=1m");
    assert_eq!(open(&server), [("svc:a".to_owned(), "half-open".to_owned())]);
}

/// The breaker that a caller chose stands before a policy's: RL.TOP goes by it too, and
/// names nothing that would let a call through.
#[test]
fn a_callers_breaker_shows_in_the_list_as_it_stands() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET p 10/s PREFIX svc: BREAKER 1:open=1s:probes=1:lease=1m");
    let acquire = || server.line("CB.ACQUIRE svc:a 1:open=1s:probes=2:lease=1m");
    let state = || server.line("CB.STATE svc:a").field("state").text();
    let by = || server.line("RL.TOP DENIED 10 NOW")[0][3].clone();
    acquire();
    server.line("CB.REPORT svc:a FAIL");
    assert_eq!(acquire()[0], Reply::Int(0));
    assert_eq!((state().as_str(), by()), ("open", Reply::bulk("open")));
    server.clock_advance(1_000_000);
    assert_eq!((state().as_str(), by()), ("half-open", Reply::NilBulk));
    let token = acquire()[2].text();
    server.line(&format!("CB.REPORT svc:a OK TOKEN {token}"));
    assert_eq!((state().as_str(), by()), ("half-open", Reply::NilBulk));
    assert_eq!(open(&server), [("svc:a".to_owned(), "half-open".to_owned())]);
    // The second trial is on its way: nobody else may go.
    acquire();
    assert_eq!(acquire()[0], Reply::Int(0));
    assert_eq!((state().as_str(), by()), ("half-open", Reply::bulk("half-open")));
    server.ok("CB.FORCE svc:a CLOSED");
    assert_eq!((state().as_str(), by()), ("forced-closed", Reply::NilBulk));
}

#[test]
fn a_replica_finds_what_its_master_renamed() {
    let server = Server::start();
    let replica = server.replica();
    server.line("CB.REPORT a FAIL BREAKER 1:open=1h");
    server.line("RENAME a b");
    server.line("COPY b c");
    server.line("MOVE c 5");
    wait_synced(&server, &replica);
    assert_eq!(names(&replica), set(&["b", "c"]));
    assert_same_data(&server, &replica);
}
