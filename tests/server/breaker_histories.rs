//! Random histories of many callers on a real server, each reply compared with
//! the pure state machine's (which has its own model in `tests/core/breaker`);
//! in the end replica and AOF must have followed exactly.

use crate::breaker_kit::{START, digest};
use crate::harness::{Reply, Server, assert_same_data, snapshot, wait_synced};
use crate::support::Dice;
use floodgate::core::breaker::{Breaker, Circuit, Force, Permit, ReportOutcome};
use floodgate::core::time::Micros;

/// Neighbours share a trip, so that changes keep the window half of the time.
const BREAKERS: &[&str] = &[
    "3:open=1s:lease=2s",
    "3:open=2s:lease=1s:probes=3:backoff=2:maxopen=5s:ramp=3s",
    "3/8s:open=1s:probes=2:lease=3s",
    "3/8s:open=1s:backoff=1.5:ramp=1s",
    "50%/8s:min=3:open=1s:slow=100ms:slowrate=40%:probes=4:lease=2s",
    "34%/5calls:min=3:open=1s:probes=3:lease=2s:backoff=3",
    "34%/5calls:open=3s:slow=100ms:probes=5:lease=1s:ramp=2s",
];
const KEYS: [&str; 3] = ["a", "b", "c"];

/// What the server should hold in one key.
struct Twin {
    circuit: Circuit,
    breaker: Breaker,
    text: &'static str,
}

struct History<'s> {
    server: &'s Server,
    dice: Dice,
    now: Micros,
    twins: [Option<Twin>; KEYS.len()],
    tickets: Vec<Permit>,
    last_epoch: u64,
}

impl History<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.dice.below(n)
    }

    fn step(&mut self) {
        let key = self.below(KEYS.len());
        if self.twins[key].is_none() {
            return self.begin(key);
        }
        match self.below(40) {
            0..=6 => {
                let us = [1, 1000, 62_500, 500_000, 1_000_000, 2_000_000][self.below(6)];
                self.set_clock(self.now.plus(us));
            }
            7 => self.set_clock(self.now.minus(1_500_000)),
            8 => self.force(key),
            9 if self.below(4) == 0 => {
                self.server.call(&["DEL", KEYS[key]]);
                self.twins[key] = None;
            }
            9 => {
                self.server.call(&["CB.RESET", KEYS[key]]);
                let twin = self.twins[key].as_mut().unwrap();
                twin.circuit.reset(&twin.breaker, self.now);
            }
            10..=20 => self.acquire(key),
            _ => self.report(key),
        }
    }

    fn set_clock(&mut self, now: Micros) {
        self.now = now;
        self.server.clock_set(now.0.cast_signed());
    }

    /// The first call on a key that is not there.
    fn begin(&mut self, key: usize) {
        let text = BREAKERS[self.below(BREAKERS.len())];
        let reply = self.server.call(&["CB.ACQUIRE", KEYS[key], text]);
        let Ok(Permit::Closed { epoch }) = Permit::parse(reply[2].bytes()) else { panic!("{reply:?}") };
        assert!(epoch > self.last_epoch, "epochs never repeat");
        let breaker = Breaker::parse(text.as_bytes()).unwrap();
        self.twins[key] = Some(Twin { circuit: Circuit::new(&breaker, self.now, epoch), breaker, text });
        self.learn(key);
    }

    /// The breaker to give in a call: mostly the last one.
    fn given(&mut self, key: usize) -> &'static str {
        if self.below(12) == 0 {
            let text = BREAKERS[self.below(BREAKERS.len())];
            let twin = self.twins[key].as_mut().unwrap();
            let breaker = Breaker::parse(text.as_bytes()).unwrap();
            twin.circuit.change_breaker(&twin.breaker, &breaker, self.now);
            (twin.breaker, twin.text) = (breaker, text);
        }
        self.twins[key].as_ref().unwrap().text
    }

    fn acquire(&mut self, key: usize) {
        let text = self.given(key);
        let reply = self.server.call(&["CB.ACQUIRE", KEYS[key], text]);
        let twin = self.twins[key].as_mut().unwrap();
        let answer = twin.circuit.acquire(&twin.breaker, self.now);
        let token = answer.ticket.map_or(Reply::NilBulk, |ticket| Reply::bulk(ticket.text().as_bytes()));
        let expected = [
            Reply::Int(answer.allowed.into()),
            Reply::bulk(answer.state.name()),
            token,
            Reply::Int(answer.retry.millis()),
        ];
        assert_eq!(reply.items(), expected);
        self.tickets.extend(answer.ticket);
        self.learn(key);
    }

    fn report(&mut self, key: usize) {
        let text = self.given(key);
        let (word, outcome) = [
            ("OK", ReportOutcome::Ok),
            ("OK", ReportOutcome::Ok),
            ("FAIL", ReportOutcome::Fail),
            ("FAIL", ReportOutcome::Fail),
            ("IGNORE", ReportOutcome::Ignore),
        ][self.below(5)];
        // Mostly one of the last tokens, of whatever key; or none.
        let back = self.below(6) + 1;
        let ticket = self.tickets.len().checked_sub(back).map(|at| self.tickets[at]);
        let ticket = ticket.filter(|_| self.below(4) > 0);
        let took = [None, Some(100), Some(101)][self.below(3)];
        let mut command: Vec<Vec<u8>> =
            [b"CB.REPORT".as_slice(), KEYS[key].as_bytes(), word.as_bytes(), b"BREAKER", text.as_bytes()]
                .map(<[u8]>::to_vec)
                .into();
        if let Some(ticket) = ticket {
            command.extend([b"TOKEN".to_vec(), ticket.text().as_bytes().to_vec()]);
        }
        if let Some(ms) = took {
            command.extend([b"DUR".to_vec(), format!("{ms}ms").into_bytes()]);
        }
        let reply = self.server.call(&command);
        let twin = self.twins[key].as_mut().unwrap();
        let us = took.map(|ms| ms * 1000);
        let answer = twin.circuit.report(&twin.breaker, self.now, outcome, ticket, us);
        let expected = [Reply::Int(answer.applied.into()), Reply::bulk(answer.state.name())];
        assert_eq!(reply.items(), expected);
        self.learn(key);
    }

    fn force(&mut self, key: usize) {
        let (word, force) =
            [("OPEN", Force::Open), ("CLOSED", Force::Closed), ("AUTO", Force::Auto)][self.below(3)];
        let mut command = vec!["CB.FORCE", KEYS[key], word];
        let lasts = force != Force::Auto && self.below(3) > 0;
        if lasts {
            command.extend(["FOR", "1s", "REASON", "r"]);
        }
        assert_eq!(self.server.call(&command), Reply::ok());
        let until = lasts.then(|| self.now.plus(1_000_000));
        let reason: &[u8] = if lasts { b"r" } else { b"" };
        let twin = self.twins[key].as_mut().unwrap();
        twin.circuit.force(&twin.breaker, self.now, force, until, reason);
        self.learn(key);
    }

    fn learn(&mut self, key: usize) {
        let twin = self.twins[key].as_ref().unwrap();
        self.last_epoch = self.last_epoch.max(twin.circuit.epoch());
    }

    /// What people are shown is the same too.
    fn compare(&self) {
        for (key, twin) in KEYS.iter().zip(&self.twins) {
            let shown = self.server.call(&["CB.STATE", key]);
            let Some(twin) = twin else {
                assert!(shown.is_nil());
                continue;
            };
            let view = twin.circuit.view(&twin.breaker, self.now);
            let number = |n: u64| Reply::Int(n.cast_signed());
            for (name, value) in [
                ("state", Reply::bulk(view.state.name())),
                ("since", number(view.since.0 / 1000)),
                ("retry_after_ms", Reply::Int(view.retry.millis())),
                ("calls", number(view.window.calls)),
                ("failures", number(view.window.failures)),
                ("slow", number(view.window.slow)),
                ("openings", number(view.openings.into())),
                ("epoch", number(view.epoch)),
                ("trials_in_flight", number(view.trials_in_flight as u64)),
                ("breaker", Reply::bulk(twin.breaker.canonical())),
                ("next_open_ms", number(view.next_open_us.div_ceil(1000))),
            ] {
                assert_eq!(shown.field(name), value, "{name}");
            }
        }
    }
}

#[test]
fn random_histories_are_those_of_the_state_machine() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let replica = server.replica_with(&["--appendonly", "no"]);
    for seed in 1..=4_u64 {
        server.clock_set(START);
        server.line("FLUSHALL");
        let mut history = History {
            server: &server,
            dice: Dice::new(seed),
            now: Micros(START.cast_unsigned()),
            twins: [const { None }; KEYS.len()],
            tickets: Vec::new(),
            last_epoch: 0,
        };
        for step in 0..2000 {
            history.step();
            if step % 50 == 0 {
                history.compare();
            }
        }
        history.compare();
        // Once every lease and deadline has passed, good trials close each.
        for key in KEYS {
            server.call(&["CB.FORCE", key, "AUTO"]);
            history.set_clock(history.now.plus(3_600_000_000));
            for _ in 0..20 {
                let reply = server.call(&["CB.ACQUIRE", key]);
                if reply[0].int() == 1 && reply[1].text() == "half-open" {
                    server.call(&["CB.REPORT", key, "OK", "TOKEN", &reply[2].text()]);
                }
            }
            assert_eq!(server.call(&["CB.STATE", key]).field("state").text(), "closed");
        }
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
    }
    let before = snapshot(&server);
    server.kill9();
    server.restart();
    assert_eq!(snapshot(&server), before);
    assert_eq!(digest(&server, "a"), digest(&replica, "a"));
}
