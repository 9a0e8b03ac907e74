//! Moving in: every row of the tables of those who come from elsewhere
//! (`src/reference/pages/moving.md`) is compared with what it names, and dumps
//! that redis-cell and this version left are taken over.
//!
//! Where a library can be had it runs beside the module (`tests/migration`); each
//! program there prints the rows that it has compared, with their tokens, and none
//! may be left out.

use crate::support::{denied, granted, root};
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use floodgate::reference::pages::MOVING;

use crate::{
    breakers::fixtures::Key,
    clients::recipes::installed,
    harness::{Reply, Server, T0, call},
};

/// A row of a table: the setting there, and the token that stands for it here;
/// empty where the row names a command.
#[derive(Clone, Copy, Debug)]
struct Row {
    there: &'static str,
    token: &'static str,
}

/// The rows of the table under this heading.
fn rows(heading: &str) -> Vec<Row> {
    let page = MOVING.1;
    let from = page.split_once(&format!("### From {heading}\n")).expect("the heading").1;
    let section = from.split("\n### ").next().unwrap();
    let cells = |line: &'static str| -> Vec<&'static str> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect()
    };
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Row> = lines
        .map(cells)
        .map(|cells| Row {
            there: cells[0],
            token: cells[1].strip_prefix('`').and_then(|text| text.split('`').next()).unwrap_or(""),
        })
        .collect();
    assert!(rows.len() > 2, "{heading}");
    rows
}

fn moving(file: &str) -> PathBuf {
    root().join("tests/migration").join(file)
}

/// Runs a program of `tests/migration` beside a server, and requires that it has
/// compared all rows under the heading.
fn compared(mut program: Command, heading: &str) {
    let server = Server::start();
    let output = program.arg(server.port().to_string()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let tried: BTreeSet<(&str, &str)> = said.lines().filter_map(|line| line.split_once('\t')).collect();
    assert_eq!(tried, rows(heading).iter().map(|row| (row.there, row.token)).collect());
}

fn python(file: &str, heading: &str) {
    let Some(folder) = installed("migration-python") else { return };
    let mut program = Command::new(folder.join("venv/bin/python"));
    program.arg("-B").arg(moving(file));
    compared(program, heading);
}

#[test]
fn from_limits_and_flask_limiter() {
    python("from_limits.py", "limits and Flask-Limiter");
}

#[test]
fn from_pybreaker() {
    python("from_pybreaker.py", "pybreaker");
}

#[test]
fn from_rate_limiter_flexible() {
    let Some(folder) = installed("migration-node") else { return };
    // Node looks for packages beside the program and above.
    let program = folder.join("from_flexible.mjs");
    fs::copy(moving("from_flexible.mjs"), &program).unwrap();
    let mut node = Command::new("node");
    node.arg(program);
    compared(node, "rate-limiter-flexible");
}

/// What is known to happen under a setting, tried on the token that stands for
/// it.
type Known = (&'static str, fn(&Key<'_>));

/// Tries each row of a table with what is known of it; none may be left out.
fn known(heading: &str, known: &[Known]) {
    let server = Server::at_t0();
    let rows = rows(heading);
    for row in &rows {
        let (_, tried) = known
            .iter()
            .find(|(there, _)| *there == row.there)
            .unwrap_or_else(|| panic!("nothing tries {row:?}"));
        server.ok("FLUSHALL");
        tried(&Key::new(&server, "k", if row.token.is_empty() { "1:open=60s" } else { row.token }));
    }
    assert_eq!(known.len(), rows.len(), "something tries a row that is gone");
}

/// So many results of a kind.
fn results(result: &str, times: usize) -> String {
    result.repeat(times)
}

/// The state after the last of these results.
fn after(key: &Key<'_>, results: &str) -> char {
    key.run(results).chars().last().unwrap()
}

/// Opened by a hundred failures, and admitting trials again.
fn half_open(key: &Key<'_>) -> i64 {
    assert_eq!(after(key, &results("f", 100)), 'o');
    let open_ms = key.deny();
    key.wait_ms(open_ms);
    open_ms
}

/// How long each opening lasts when every trial fails.
fn openings(key: &Key<'_>, times: usize) -> Vec<i64> {
    assert_eq!(after(key, &results("f", 100)), 'o');
    (0..times)
        .map(|_| {
            let seconds = key.deny() / 1000;
            key.wait_ms(seconds * 1000);
            assert!(key.fail(&key.admit()));
            seconds
        })
        .collect()
}

fn counts_over_a_hundred_calls(key: &Key<'_>) {
    assert_eq!(after(key, &(results("s", 51) + &results("f", 49))), 'c');
    // The hundred-and-first pushes a success out: half of the last hundred.
    assert_eq!(after(key, "f"), 'o');
}

fn denies_everybody(key: &Key<'_>) {
    key.server.ok("CB.FORCE k OPEN");
    for _ in 0..3 {
        assert_eq!(key.acquire()[0].int(), 0);
        key.wait_ms(3_600_000);
    }
    key.server.ok("CB.FORCE k AUTO");
    key.admit();
}

#[test]
fn from_resilience4j() {
    known(
        "resilience4j",
        &[
            ("`CircuitBreakerConfig.ofDefaults()`", |key| {
                assert_eq!(half_open(key), 60_000);
                let trials: Vec<_> = (0..10).map(|_| key.admit()).collect();
                key.deny();
                // The verdict comes with the sixth: nothing can change it any more.
                assert_eq!(trials.iter().filter(|trial| key.ok(trial)).count(), 6);
                assert_eq!(key.state(), "closed");
                // A minute is not slow.
                assert_eq!(key.report(&["OK", "DUR", "60s"]), (true, "closed".into()));
                assert_eq!(after(key, &results("l", 98)), 'c');
                assert_eq!((key.number("calls"), key.number("slow")), (99, 98));
            }),
            (
                "`slidingWindowType: COUNT_BASED, slidingWindowSize: 100, failureRateThreshold: 50`",
                counts_over_a_hundred_calls,
            ),
            ("`minimumNumberOfCalls: 10`", |key| {
                assert_eq!(after(key, &results("f", 9)), 'c');
                assert_eq!(after(key, "f"), 'o');
            }),
            ("`slidingWindowType: TIME_BASED, slidingWindowSize: 60`", |key| {
                assert_eq!(after(key, &results("f", 99)), 'c');
                key.wait_ms(60_000);
                assert_eq!(after(key, &(results("s", 50) + &results("f", 49))), 'c');
                assert_eq!(after(key, "f"), 'o');
            }),
            ("`slowCallDurationThreshold: 2s, slowCallRateThreshold: 80`", |key| {
                for n in 0..100 {
                    let took = if n < 20 { "2000ms" } else { "2001ms" };
                    assert_eq!(key.report(&["OK", "DUR", took]).1, if n < 99 { "closed" } else { "open" });
                }
            }),
            ("`waitDurationInOpenState: 30s`", |key| assert_eq!(half_open(key), 30_000)),
            ("`IntervalFunction.ofExponentialBackoff(30s, 2, 10m)`", |key| {
                assert_eq!(openings(key, 7), [30, 60, 120, 240, 480, 600, 600]);
            }),
            ("`permittedNumberOfCallsInHalfOpenState: 10`", |key| {
                half_open(key);
                let trials: Vec<_> = (0..10).map(|_| key.admit()).collect();
                key.deny();
                // Half of them failed, as the rate says.
                assert!(trials[..5].iter().all(|trial| key.fail(trial)));
                assert_eq!(key.state(), "open");
                key.wait_ms(60_000);
                let trials: Vec<_> = (0..10).map(|_| key.admit()).collect();
                assert!(trials[..4].iter().all(|trial| key.fail(trial)));
                assert!(trials[4..].iter().all(|trial| key.ok(trial)));
                assert_eq!(key.state(), "closed");
            }),
            ("`maxWaitDurationInHalfOpenState: 20s`", |key| {
                half_open(key);
                (0..10).for_each(|_| drop(key.admit()));
                assert_eq!(key.deny(), 20_000);
                key.wait_ms(20_000);
                assert_eq!(key.deny(), 60_000);
                // There the round is over; here each trial is, and these leave four failures of ten.
                half_open(key);
                let trials: Vec<_> = (0..10).map(|_| key.admit()).collect();
                assert!(trials[..6].iter().all(|trial| key.ok(trial)));
                key.wait_ms(20_000);
                assert_eq!(key.state(), "closed");
            }),
            ("`transitionToForcedOpenState()`", denies_everybody),
            ("`ignoreExceptions`", |key| {
                assert_eq!(after(key, &results("i", 20)), 'c');
                // The breaker of this row opens at the first failure.
                assert_eq!(key.number("calls"), 0);
            }),
        ],
    );
}

#[test]
fn from_polly() {
    known(
        "Polly",
        &[
            ("`FailureRatio = 0.1, SamplingDuration = 30 s, MinimumThroughput = 100`", |key| {
                assert_eq!(after(key, &results("f", 99)), 'c');
                key.wait_ms(30_000);
                // A success that makes it a hundred does not open it.
                assert_eq!(after(key, &(results("f", 10) + &results("s", 90))), 'c');
                assert_eq!(after(key, "f"), 'o');
            }),
            ("`BreakDuration = 5 s`", |key| {
                assert_eq!(half_open(key), 5_000);
                // One trial at a time.
                key.admit();
                key.deny();
            }),
            ("`BreakDurationGenerator` that doubles", |key| {
                assert_eq!(openings(key, 5), [5, 10, 20, 40, 80]);
            }),
            ("`CircuitBreaker(5, 1 minute)` of version 7", |key| {
                assert_eq!(after(key, "ffffsffff"), 'c');
                assert_eq!(after(key, "f"), 'o');
                assert_eq!(key.deny(), 60_000);
            }),
            ("`ManualControl.IsolateAsync()`", denies_everybody),
            ("`ManualControl.CloseAsync()`", |key| {
                assert_eq!(after(key, "f"), 'o');
                assert_eq!(key.server.line("CB.RESET k"), Reply::Int(1));
                key.admit();
            }),
        ],
    );
}

/// `CL.THROTTLE k max_burst count period` and its token grant the same.
#[test]
fn from_redis_cell_by_token() {
    let server = Server::at_t0();
    for (at, row) in rows("redis-cell").iter().enumerate() {
        let words: Vec<&str> = row.there.trim_matches('`').split(' ').collect();
        let ["CL.THROTTLE", "k", burst, count, period] = words[..] else { panic!("{row:?}") };
        let (there, here) = (format!("there:{at}"), format!("here:{at}"));
        let mut sum = 0;
        for step in 0..300_i64 {
            let cell = server.call(&["CL.THROTTLE", &there, burst, count, period]);
            let ours = server.call(&["RL.ACQUIRE", &here, row.token]).rate_limit();
            let (limit, left) = (cell[1].int(), cell[2].int());
            let same = (1 - cell[0].int(), limit, left);
            assert_eq!((ours.granted, ours.limit, ours.remaining), same, "{row:?}, call {step}");
            sum += ours.granted;
            // Rather faster than the rate.
            let interval = period.parse::<i64>().unwrap() * 1_000_000 / count.parse::<i64>().unwrap();
            server.clock_advance(interval * (step % 5) / 4);
        }
        assert!((60..290).contains(&sum), "{row:?}: {sum}");
    }
}

#[test]
fn a_dump_of_redis_cell_goes_on_as_redis_cell_did() {
    let server = Server::builder().data(moving("redis_cell")).start();
    assert_eq!(server.line("DBSIZE"), Reply::Int(6));
    let answers = fs::read_to_string(moving("redis_cell/answers.txt")).unwrap();
    let mut limited = 0;
    for line in answers.lines().filter(|line| !line.starts_with('#')) {
        let (call, reply) = line.split_once(": ").unwrap();
        let (second, command) = call.split_once(' ').unwrap();
        server.clock_set(second.parse::<i64>().unwrap() * 1_000_000);
        let theirs: Vec<i64> = reply.split(' ').map(|n| n.parse().unwrap()).collect();
        let ours = server.line(command).to_ints();
        assert_eq!(ours[..3], theirs[..3], "{line}");
        for at in [3, 4] {
            // That version cut seconds off; later ones, and ours, round them up.
            let rounded = theirs[at] >= 0 && ours[at] == theirs[at] + 1;
            assert!(ours[at] == theirs[at] || rounded, "{line}: {ours:?}");
        }
        limited += theirs[0];
    }
    assert!((50..150).contains(&limited), "{limited} limited");
    assert_eq!(server.line("TYPE user:1").text(), "ratelimit");
    let row = &server.line("RL.QUOTA user:1")[0];
    assert_eq!((row.field("algorithm").text().as_str(), row.field("limit").int()), ("bucket", 5));
}

/// redis-cell logs its calls and not when they were: they count when the AOF is
/// loaded, as they do there, and the load does not fail.
#[test]
fn an_aof_of_redis_cell_loads() {
    let dir = tempfile::tempdir().unwrap();
    let log = |words: &[&str]| -> String {
        let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), parts.collect::<String>())
    };
    let mut aof = log(&["SELECT", "0"]);
    for _ in 0..7 {
        aof += &log(&["CL.THROTTLE", "user:42", "4", "1", "3600"]);
    }
    fs::write(dir.path().join("appendonly.aof"), aof).unwrap();
    let server = Server::builder().data(dir.path()).args(["--appendonly", "yes"]).start();
    let reply = server.line("CL.THROTTLE user:42 4 1 3600").to_ints();
    assert_eq!(reply[..3], [1, 5, 0]);
}

/// Made with `RL.DEBUG CLOCK SET` at [`T0`] on Redis 6.2.14, by 0.1.0. It
/// must load for ever: add another when the encoding changes, never this.
#[test]
fn a_dump_of_version_0_1_goes_on_where_it_was() {
    let server = Server::builder().data(moving("floodgate")).start();
    server.clock_set(T0);
    for (command, reply) in [
        ("RL.ACQUIRE sliding 10/s,1000/h", granted(1).limit(10).remaining(6).reset_ms(1000)),
        ("RL.ACQUIRE bucket bucket:10/s:burst=50", granted(1).limit(50).remaining(29).reset_ms(2100)),
        (
            "RL.ACQUIRE fixed fixed:7/month:tz=Europe/Paris",
            granted(1).limit(7).remaining(4).reset_ms(1_436_400_000),
        ),
        ("RL.ACQUIRE first fixed:5/h:start=first", granted(1).limit(5).remaining(3).reset_ms(3_600_000)),
        ("RL.ACQUIRE user:1", granted(1).limit(100).remaining(98).reset_ms(61_200)),
        ("RL.ACQUIRE pinned 99/s", granted(1).limit(10).remaining(8).reset_ms(60_000)),
        ("RL.ACQUIRE blocked 99/s", denied().limit(99).remaining(0).retry_never().reset_ms(0).blocked()),
        ("RL.ACQUIRE llm 1000/m COST 850", granted(850).limit(1000).remaining(0).reset_ms(61_200)),
    ] {
        assert_eq!(server.line(command).rate_limit(), reply, "{command}");
    }
    assert_eq!(server.line("CL.THROTTLE cell 4 1 60"), Reply::ints(&[0, 5, 2, -1, 180]));
    assert_eq!(server.line("RL.RESERVATIONS llm")[0][0].text(), "req-1");
    assert_eq!(server.line("RL.COMMIT req-1 1 llm COST 100"), Reply::Int(1));
    let today = server.line("RL.STATS tracked").field("today").clone();
    assert_eq!((today.field("granted").int(), today.field("fail").int()), (1, 1));
    assert_eq!(call!(server, "CB.ACQUIRE", "breaker", "2:open=60s")[3], Reply::Int(60_000));
    assert_eq!(server.line("CB.STATE closed").field("state").text(), "closed");
    assert_eq!(server.line("CB.STATE forced").field("state").text(), "forced-open");
    assert_eq!(server.line("RL.POLICY GET free").field("prefix").text(), "user:");
}
