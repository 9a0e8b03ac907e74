//! CB.ACQUIRE … LIMIT: breaker and limit decided together.

use crate::breakers::fixtures::digest;
use crate::harness::{Reply, Server, T0, assert_error_prefix, assert_same_data, wait_synced};

const NIL: Reply = Reply::NilBulk;

fn remaining(server: &Server, key: &str) -> i64 {
    server.call(&["RL.QUOTA", key, "10/h"])[0].field("remaining").int()
}

fn state(server: &Server) -> String {
    server.line("CB.STATE {t}b").field("state").text()
}

#[test]
fn both_take_or_neither() {
    let server = Server::at_t0();
    let ask = |cost: i64| server.line(&format!("CB.ACQUIRE {{t}}b 1:open=1s LIMIT {{t}}l 10/h COST {cost}"));
    let reply = ask(4);
    assert_eq!(reply.items().len(), 5);
    assert_eq!((reply[0].int(), reply[1].text()), (1, "closed".into()));
    assert_eq!(reply[4].items()[..3], [Reply::Int(4), Reply::Int(10), Reply::Int(6)]);

    // A full limit: the breaker would admit, the limit says when.
    let reply = ask(7);
    assert_eq!((&reply[0], reply[1].text(), &reply[2]), (&Reply::Int(0), "closed".into(), &NIL));
    assert_eq!((reply[3].int(), reply[4][0].int(), reply[4][3].int()), (3_600_000, 0, 3_600_000));
    assert_eq!(server.counter("breaker_denied_limit"), 1);
    assert_eq!(ask(11)[3].int(), -1, "never, above the capacity");

    // An open breaker uses no quota.
    server.line("CB.REPORT {t}b FAIL");
    let reply = ask(1);
    assert_eq!(reply, Reply::Array(vec![Reply::Int(0), Reply::bulk("open"), NIL, Reply::Int(1000), NIL]));
    assert_eq!(remaining(&server, "{t}l"), 6);

    // At the deadline a rate-limited call is no trial and leaves it open.
    server.clock_advance(1_000_000);
    let reply = ask(7);
    assert_eq!((reply[0].int(), reply[1].text(), reply[3].int()), (0, "open".into(), 3_599_000));
    let reply = ask(2);
    assert_eq!((reply[0].int(), reply[1].text(), reply[4][2].int()), (1, "half-open".into(), 4));
    let trial = reply[2].text();
    // The trial is in flight: no quota for the others.
    let reply = ask(1);
    assert_eq!(
        (reply[0].int(), reply[1].text(), reply[3].int(), &reply[4]),
        (0, "half-open".into(), 60_000, &NIL)
    );
    assert_eq!(remaining(&server, "{t}l"), 4);
    assert_eq!(server.line(&format!("CB.REPORT {{t}}b OK TOKEN {trial}"))[1], Reply::bulk("closed"));
    assert_eq!(state(&server), "closed");
}

#[test]
fn a_rate_limited_call_uses_no_ramp_and_finds_lost_trials() {
    let server = Server::at_t0();
    server.line("RL.ACQUIRE full 1/h");
    server.line("CB.REPORT b FAIL BREAKER 1:open=1s:lease=1s:ramp=10s");
    server.clock_advance(1_000_000);
    let trial = server.line("CB.ACQUIRE b")[2].text();
    // The lease ends at 2 s, so the breaker is open until 3 s.
    server.clock_advance(2_500_000);
    let reply = server.line("CB.ACQUIRE b LIMIT full 1/h");
    assert_eq!((reply[0].int(), reply[1].text(), reply[4][0].int()), (0, "open".into(), 0));
    assert_eq!(server.line(&format!("CB.REPORT b OK TOKEN {trial}"))[0], Reply::Int(0));
    let trial = server.line("CB.ACQUIRE b")[2].text();
    server.line(&format!("CB.REPORT b OK TOKEN {trial}"));
    server.clock_advance(5_000_000);
    // Half of the calls pass now; those that the limit denies do not count.
    let digest = crate::breakers::fixtures::digest(&server, "b");
    for _ in 0..5 {
        let reply = server.line("CB.ACQUIRE b LIMIT full 1/h");
        assert_eq!(reply[1].text(), "closed");
    }
    assert_eq!(crate::breakers::fixtures::digest(&server, "b"), digest);
    let admitted: i64 = (0..10).map(|_| server.line("CB.ACQUIRE b")[0].int()).sum();
    assert_eq!(admitted, 5);
}

#[test]
fn one_effect_carries_both() {
    let server = Server::at_t0();
    let replica = server.replica();
    let effects = || {
        wait_synced(&server, &replica);
        let stats = replica.info("commandstats");
        let calls = stats.get("cmdstat_rl.effect").and_then(|all| all.split(['=', ',']).nth(1)?.parse().ok());
        calls.unwrap_or(0)
    };
    let (before, mut expected): (i64, i64) = (effects(), 0);
    let mut ask = |grows: i64| {
        let reply = server.line("CB.ACQUIRE b 1:open=1s LIMIT l 3/h");
        expected += grows;
        assert_eq!(effects() - before, expected, "{reply:?}");
        assert_same_data(&server, &replica);
        reply
    };
    assert_eq!(ask(1)[0].int(), 1); // creates both
    assert_eq!(ask(1)[0].int(), 1); // only the limit changes
    server.line("CB.REPORT b FAIL");
    assert_eq!(ask(1)[0].int(), 0); // the report; the denial changes nothing
    server.clock_advance(1_000_000);
    assert_eq!(ask(1)[0].int(), 1); // a trial and a unit
    assert_eq!(ask(0)[0].int(), 0); // nothing
}

#[test]
fn mistakes_take_nothing() {
    let server = Server::at_t0();
    server.line("SET text x");
    server.line("RL.ACQUIRE l 10/h");
    server.line("CB.ACQUIRE b 5");
    for (command, error) in [
        ("CB.ACQUIRE n 5 LIMIT", "ERR syntax error: LIMIT needs a key and limits"),
        ("CB.ACQUIRE n 5 LIMIT l", "ERR syntax error: LIMIT needs a key and limits"),
        ("CB.ACQUIRE n 5 LIMIT l 10/", "ERR invalid limit '10/': "),
        ("CB.ACQUIRE n 5x LIMIT l 10/h", "ERR invalid breaker '5x': "),
        ("CB.ACQUIRE n 5 LIMIT l 10/h COST", "ERR syntax error: COST needs a value"),
        ("CB.ACQUIRE n 5 LIMIT l 10/h COST 0", "ERR COST must be "),
        ("CB.ACQUIRE n 5 LIMIT l 10/h COST 1 1", "ERR syntax error near '1'"),
        ("CB.ACQUIRE n 5 LIMIT l *", "ERR no limits for this key"),
        ("CB.ACQUIRE n 5 LIMIT l concurrent:5", "ERR invalid limit 'concurrent:5': "),
        ("CB.ACQUIRE n 5 LIMIT n 10/h", "ERR the breaker and the limit need different keys"),
        ("CB.ACQUIRE n 5 LIMIT text 10/h", "WRONGTYPE "),
        ("CB.ACQUIRE n 5 LIMIT b 10/h", "WRONGTYPE "),
        ("CB.ACQUIRE l 5 LIMIT m 10/h", "WRONGTYPE "),
    ] {
        assert_error_prefix(&server.line(command), error);
    }
    assert_eq!(server.line("EXISTS n m"), Reply::Int(0));
    assert_eq!(remaining(&server, "l"), 9);
    // Denied on keys that are not there: nothing is left behind.
    assert_eq!(server.line("CB.ACQUIRE n 5 LIMIT m 10/h COST 11")[1], Reply::bulk("closed"));
    assert_eq!(server.line("EXISTS n m"), Reply::Int(0));
}

#[test]
fn a_cluster_wants_both_keys_in_one_slot() {
    let server = Server::with(&["--cluster-enabled", "yes"]);
    server.serve_all_slots();
    assert_error_prefix(&server.line("CB.ACQUIRE a 5 LIMIT b 10/h"), "CROSSSLOT ");
    assert_error_prefix(&server.line("CB.ACQUIRE a LIMIT b 10/h"), "CROSSSLOT ");
    assert_error_prefix(&server.line("CB.ACQUIRE a LIMIT b concurrent:1 TTL 1s ID LIMIT"), "CROSSSLOT ");
    assert_eq!(server.line("CB.ACQUIRE {t}a LIMIT {t}c concurrent:1 TTL 1s")[0], Reply::Int(1));
    assert_eq!(server.line("CB.ACQUIRE {t}a 5 LIMIT {t}b 10/h")[0], Reply::Int(1));
    assert_eq!(
        server.line("COMMAND GETKEYS CB.ACQUIRE {t}a 5 limit {t}b 10/h COST 2").items(),
        [Reply::bulk("{t}a"), Reply::bulk("{t}b")]
    );
    assert_eq!(server.line("COMMAND GETKEYS CB.ACQUIRE {t}a 5").items(), [Reply::bulk("{t}a")]);
}

#[test]
fn a_breaker_s_denial_records_a_clock_that_stepped_back_on_the_limit() {
    for rest in ["", " TTL 1m"] {
        let server = Server::at_t0();
        let replica = server.replica();
        server.clock_advance(60_000_000);
        server.ok("RL.BLOCK {x}l FOR 30s");
        server.clock_set(T0);
        server.line("CB.REPORT {x}b FAIL BREAKER 1:open=20s");
        let ask = || server.line(&format!("CB.ACQUIRE {{x}}b 1:open=20s LIMIT {{x}}l 10/s{rest}"));
        let reply = ask();
        assert_eq!((reply[0].int(), reply[3].int()), (0, 30_000));
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        // Nothing more is recorded.
        let before = digest(&server, "{x}l");
        server.clock_advance(10_000_000);
        assert_eq!(ask()[3], Reply::Int(20_000));
        assert_eq!(digest(&server, "{x}l"), before);
        server.clock_advance(20_000_000);
        assert_eq!(ask()[0], Reply::Int(1), "30 s after the first denial");
    }
}
