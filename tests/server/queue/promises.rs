//! Random histories against the promise of retry_after_ms itself: the same request is granted then if
//! nobody else asks, and not 2 ms earlier. Whoever waits has asked already.

use crate::harness::{Reply, Server, T0, Wire, eventually};
use crate::histories::{Transcript, run_histories};
use crate::queue::fixtures::{SOON, answered, waiting_now, waits};
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::Cell;
use std::time::Duration;

/// Their units come back after whole milliseconds, so that waiters are served at such times.
const LIMITS: [&str; 7] = [
    "1/100ms",
    "3/20ms",
    "2/30ms",
    "5/40ms:keep=40%",
    "fixed:4/50ms",
    "4/30ms,2/60ms:name=a",
    "6/40ms,2/25ms:per=call",
];

/// A longer wait is not tried out.
const LONGEST_MS: i64 = 300;

/// What comes before the request. `l` is the key with a line, and `m` is another.
#[derive(Clone, Debug)]
enum Step {
    Take { key: &'static str, limits: &'static str, cost: u64 },
    Wait { limits: &'static str, cost: u64, critical: bool },
    Pin { key: &'static str, limits: &'static str, ms: u64 },
    Block { key: &'static str, ms: u64 },
    Open { ms: u64 },
    Pass { ms: u64 },
}

/// The request that is told a time.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Acquire,
    Reserve,
    ReserveTwo,
    Batch,
    BatchOfOneKey,
    Limit,
    LimitWithTtl,
}

#[derive(Clone, Debug)]
struct History {
    steps: Vec<Step>,
    probe: Probe,
    limits: [&'static str; 2],
    cost: u64,
    critical: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || select(vec!["l", "l", "m"]);
    let limits = || select(&LIMITS[..]);
    prop_oneof![
        3 => (key(), limits(), 1..4u64).prop_map(|(key, limits, cost)| Step::Take { key, limits, cost }),
        4 => (limits(), 1..4u64, prop::bool::weighted(0.2))
            .prop_map(|(limits, cost, critical)| Step::Wait { limits, cost, critical }),
        2 => (key(), limits(), 1..80u64).prop_map(|(key, limits, ms)| Step::Pin { key, limits, ms }),
        1 => (key(), 1..80u64).prop_map(|(key, ms)| Step::Block { key, ms }),
        1 => (1..120u64).prop_map(|ms| Step::Open { ms }),
        2 => (1..30u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    use Probe::{Acquire, Batch, BatchOfOneKey, Limit, LimitWithTtl, Reserve, ReserveTwo};
    let probes = [Acquire, Reserve, ReserveTwo, ReserveTwo, Batch, Batch, BatchOfOneKey, Limit, LimitWithTtl];
    let probe = select(probes.to_vec());
    let limits = || select(&LIMITS[..]);
    (prop::collection::vec(step(), 2..14), probe, [limits(), limits()], 1..4u64, any::<bool>())
        .prop_map(|(steps, probe, limits, cost, critical)| History { steps, probe, limits, cost, critical })
}

impl History {
    /// The request. A third key, which always has units, is told the wait for all of them.
    fn line(&self) -> String {
        let Self { limits: [l, m], cost, .. } = self;
        let line = match self.probe {
            Probe::Acquire => format!("RL.ACQUIRE l {l} COST {cost}"),
            Probe::Reserve => format!("RL.RESERVE 2 l {l} n 9999/s COST {cost} TTL 9s"),
            Probe::ReserveTwo => format!("RL.RESERVE 3 m {m} l {l} n 9999/s COST {cost} TTL 9s"),
            Probe::Batch => format!("RL.BATCH ALL 3 l {l} {cost} m {m} 1 n 9999/s 1"),
            Probe::BatchOfOneKey => format!("RL.BATCH ALL 3 l {l} {cost} l {m} 1 n 9999/s 1"),
            Probe::Limit => format!("CB.ACQUIRE b 1 LIMIT l {l} COST {cost}"),
            Probe::LimitWithTtl => format!("CB.ACQUIRE b 1 LIMIT l {l} COST {cost} TTL 9s"),
        };
        if self.critical { line + " CRITICAL" } else { line }
    }

    /// Whether the request is granted, and else the time that it is told.
    fn told(&self, reply: &Reply) -> Result<(), i64> {
        let (granted, retry_ms) = match self.probe {
            Probe::Acquire => (reply.rate_limit().is_granted(), reply.rate_limit().retry_after_ms),
            Probe::Reserve | Probe::ReserveTwo => {
                let last = reply[1].items().last().expect("the third key").rate_limit();
                (!reply[0].is_nil(), last.retry_after_ms)
            }
            Probe::Batch | Probe::BatchOfOneKey => {
                (reply[2].rate_limit().is_granted(), reply[2].rate_limit().retry_after_ms)
            }
            Probe::Limit | Probe::LimitWithTtl => (reply[0] == Reply::Int(1), reply[3].int()),
        };
        if granted { Ok(()) } else { Err(retry_ms) }
    }

    fn prepare(
        &self,
        server: &Server,
        transcript: &Transcript,
        run: &mut impl FnMut(&str) -> Reply,
    ) -> Vec<Wire> {
        let mut waiters = Vec::new();
        for step in &self.steps {
            match step {
                Step::Take { key, limits, cost } => {
                    run(&format!("RL.ACQUIRE {key} {limits} COST {cost} CRITICAL"));
                }
                Step::Wait { limits, cost, critical } => {
                    let critical = if *critical { " CRITICAL" } else { "" };
                    let line = format!("RL.ACQUIRE l {limits} COST {cost} WAIT 30s{critical}");
                    transcript.note(line.clone());
                    let (before, mut wire) = (waiting_now(server), server.wire());
                    wire.send_line(&line);
                    eventually(SOON, "it waits or has its answer", || {
                        waiting_now(server) > before || wire.read_within(Duration::from_millis(1)).is_some()
                    });
                    waiters.push(wire);
                }
                Step::Pin { key, limits, ms } => drop(run(&format!("RL.PIN {key} {limits} FOR {ms}ms"))),
                Step::Block { key, ms } => drop(run(&format!("RL.BLOCK {key} FOR {ms}ms"))),
                Step::Open { ms } => drop(run(&format!("CB.REPORT b FAIL BREAKER 1:open={ms}ms"))),
                Step::Pass { ms } => pass(run, *ms),
            }
            // The line moves now, if anything moved it.
            pass_us(run, 0);
        }
        waiters
    }

    /// Returns whether a wait was tried out.
    fn play(&self, server: &Server) -> bool {
        let transcript = Transcript::default();
        let mut control = server.wire();
        let mut run = |line: &str| {
            let reply = control.line(line);
            transcript.note(format!("{line} -> {reply:?}"));
            reply
        };
        run("FLUSHALL");
        let waiters = self.prepare(server, &transcript, &mut run);
        let line = self.line();
        let tried = match self.told(&run(&line)) {
            Err(ms @ 1..=LONGEST_MS) => {
                assert_eq!(self.told(&run(&line)), Err(ms), "the same again");
                pass(&mut run, ms.unsigned_abs().saturating_sub(2));
                if ms >= 2 {
                    assert!(self.told(&run(&line)).is_err(), "granted 2 ms earlier than told");
                }
                pass(&mut run, ms.unsigned_abs().min(2));
                assert_eq!(self.told(&run(&line)), Ok(()), "granted when told");
                true
            }
            Err(0) => panic!("denied, and told to come back at once"),
            _ => false,
        };
        drop(waiters);
        eventually(SOON, "everybody has gone", || waiting_now(server) == 0);
        tried
    }
}

fn pass_us(run: &mut impl FnMut(&str) -> Reply, us: u64) {
    run(&format!("RL.DEBUG CLOCK ADVANCE {us}"));
}

/// Each waiter is served in its own millisecond.
fn pass(run: &mut impl FnMut(&str) -> Reply, ms: u64) {
    (0..ms).for_each(|_| pass_us(run, 1000));
}

#[test]
fn a_request_is_granted_when_told_beside_a_line_that_takes_units_first() {
    let server = Server::at_t0();
    let tried = Cell::new(0);
    run_histories(file!(), 1000, &history(), |history| {
        tried.set(tried.get() + u32::from(history.play(&server)));
    });
    assert!(tried.get() > 200, "{tried:?}");
}

/// The pin under which the line is served ends before another part of the request is free. Then the
/// limits of the call decide.
#[test]
fn a_joint_wait_looks_past_the_pin_of_a_key_with_a_line() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE m 1/10s");
    server.line("CB.REPORT b FAIL BREAKER 1:open=10s");
    server.line("RL.ACQUIRE l 1/h");
    server.ok("RL.PIN l 1/s FOR 5s");
    server.line("RL.ACQUIRE l 1/h");
    let mut waiter = waits(&server, "RL.ACQUIRE l 1/h WAIT 25s");
    let hour = Reply::Int(3_600_000);
    for critical in ["", " CRITICAL"] {
        let line = |text: &str| server.line(&format!("{text}{critical}"));
        assert_eq!(line("CB.ACQUIRE b 1:open=10s LIMIT l 1/h")[3], hour);
        assert_eq!(line("CB.ACQUIRE b 1:open=10s LIMIT l 1/h TTL 5s ID x")[3], hour);
        assert_eq!(line("RL.RESERVE 3 l 1/h m 1/10s n 5/s TTL 5s ID x")[1][2][3], hour);
        assert_eq!(line("RL.BATCH ALL 3 l 1/h 1 m 1/10s 1 n 5/s 1")[2][3], hour);
    }
    server.clock_advance(1_000_000);
    assert!(answered(&mut waiter).is_granted());
    server.clock_set(T0 + 3_600_000_000);
    assert_eq!(server.line("CB.ACQUIRE b 1:open=10s LIMIT l 1/h")[0], Reply::Int(1));
}

/// A reservation that exists already asks nothing of a line.
#[test]
fn a_reservation_behind_an_open_breaker_waits_for_no_line() {
    let server = Server::at_t0();
    let call = "CB.ACQUIRE b 1:open=10s LIMIT l concurrent:1 TTL 20s ID x";
    assert_eq!(server.line(call)[0], Reply::Int(1));
    server.line("CB.REPORT b FAIL");
    let _waiter = waits(&server, "RL.RESERVE 1 l concurrent:1 TTL 1h ID y WAIT 30s");
    assert_eq!(server.line(call)[3], Reply::Int(10_000));
    server.clock_advance(10_000_000);
    assert_eq!(server.line(call)[0], Reply::Int(1));
}
