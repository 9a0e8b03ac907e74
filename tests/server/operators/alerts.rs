//! Alerts: each starts once, ends once, is remembered, and is told by masters
//! only.

use std::time::Duration;

use crate::harness::{Reply, Server, Wire, assert_error, assert_error_prefix, call, eventually};

const START: i64 = 1_800_000_000_000_000;
const LIMIT: Duration = Duration::from_secs(10);

/// A server that looks at its figures often. The machine under test may stall
/// by itself: no alert tells of that.
fn watched() -> Server {
    let server = Server::builder()
        .args(["--hz", "100"])
        .module_args(["enable-debug-command", "yes", "alert-latency", "0"])
        .start();
    server.clock_set(START);
    server
}

fn listener(server: &Server) -> Wire {
    let mut wire = server.wire();
    wire.line("SUBSCRIBE floodgate:alerts");
    wire
}

/// The next message on the channel.
fn heard(wire: &mut Wire) -> serde_json::Value {
    let message = wire.try_read(LIMIT).unwrap().expect("an alert");
    serde_json::from_slice(message[2].text().as_bytes()).unwrap()
}

fn silent(wire: &mut Wire) {
    let message = wire.try_read(Duration::from_millis(200)).unwrap();
    assert!(message.is_none(), "{message:?}");
}

fn field(alert: &Reply, name: &str) -> String {
    alert.get(name).unwrap_or_else(|| panic!("no {name}")).text()
}

/// Time after which an alert ends, when nothing more happens: a minute for the figure to
/// fall, then a minute below, or ten with too few events to tell.
/// Of three openings the first was three seconds before the alert.
const UNTIL_BELOW: i64 = 118_000_000;
const UNTIL_UNJUDGED: i64 = 661_000_000;

/// Makes one kind of trouble; it starts once, and ends once, `end_us` later.
fn starts_and_ends(
    server: &Server,
    kind: &str,
    key: Option<&str>,
    value: u64,
    end_us: i64,
    trouble: impl FnOnce(),
) {
    let mut wire = listener(server);
    trouble();
    let start = heard(&mut wire);
    assert_eq!(
        (&start["event"], &start["alert"], &start["state"]),
        (&"alert".into(), &kind.into(), &"start".into())
    );
    assert_eq!((start["key"].as_str(), start["value"].as_u64()), (key, Some(value)), "{start}");
    assert!(start["ended_at_ms"].is_null());
    silent(&mut wire);
    let alert = server.line("RL.ALERTS 1")[0].clone();
    assert_eq!(field(&alert, "alert"), kind);
    let shown = alert.get("key").unwrap();
    assert_eq!(if shown.is_nil() { None } else { Some(shown.text()) }.as_deref(), key);
    assert_eq!(alert.get("active").unwrap().int(), 1);
    assert_eq!(server.counter("alerts_active"), 1);
    // Not a moment before.
    server.clock_advance(end_us - 2_000_000);
    silent(&mut wire);
    server.clock_advance(2_000_000);
    let end = heard(&mut wire);
    assert_eq!((&end["alert"], &end["state"]), (&kind.into(), &"end".into()));
    assert_eq!(end["started_at_ms"], start["started_at_ms"]);
    silent(&mut wire);
    assert_eq!(server.line("RL.ALERTS 1")[0].get("active").unwrap().int(), 0);
}

#[test]
fn error_rate() {
    let server = watched();
    starts_and_ends(&server, "error-rate", Some("svc"), 5, UNTIL_UNJUDGED, || {
        // 19 good ones first, so that it is never more than one in twenty.
        for _ in 0..19 {
            server.line("CB.REPORT svc OK");
        }
        server.line("CB.REPORT svc FAIL");
    });
}

#[test]
fn what_rl_record_tells_counts() {
    let server = watched();
    starts_and_ends(&server, "error-rate", Some("source:mail"), 10, UNTIL_UNJUDGED, || {
        server.line("RL.RECORD source:mail OK COUNT 9");
        server.line("RL.RECORD source:mail FAIL");
    });
    starts_and_ends(&server, "response-time", Some("source:mail"), 600, UNTIL_UNJUDGED, || {
        server.line("RL.RECORD source:mail OK DUR 600ms COUNT 10");
    });
}

#[test]
fn below_the_threshold_there_is_no_alert() {
    let server = watched();
    let mut wire = listener(&server);
    for _ in 0..20 {
        server.line("CB.REPORT svc OK DUR 499ms");
    }
    server.line("CB.REPORT svc FAIL");
    server.line("CB.REPORT svc IGNORE");
    silent(&mut wire);
    assert_eq!(server.line("RL.ALERTS"), Reply::Array(vec![]));
}

#[test]
fn response_time() {
    let server = watched();
    starts_and_ends(&server, "response-time", Some("svc"), 500, UNTIL_UNJUDGED, || {
        for _ in 0..10 {
            server.line("CB.REPORT svc OK DUR 500ms");
        }
    });
}

#[test]
fn breaker_openings() {
    let server = watched();
    starts_and_ends(&server, "breaker-openings", Some("cb:pay"), 3, UNTIL_BELOW, || {
        for _ in 0..3 {
            server.line("CB.REPORT cb:pay FAIL BREAKER 1:open=1s");
            server.clock_advance(1_000_000);
            let token = server.line("CB.ACQUIRE cb:pay")[2].text();
            call!(server, "CB.REPORT", "cb:pay", "OK", "TOKEN", token);
        }
    });
}

#[test]
fn batch_failures() {
    let server = watched();
    starts_and_ends(&server, "batch-failures", Some("b"), 10, UNTIL_UNJUDGED, || {
        server.line("RL.BATCH EACH 10 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1 b 9/d 1");
    });
}

#[test]
fn queue() {
    let server = Server::builder()
        .args(["--hz", "100"])
        .module_args(["enable-debug-command", "yes", "queue-max", "5", "alert-latency", "0"])
        .start();
    server.clock_set(START);
    let mut wire = listener(&server);
    server.line("RL.ACQUIRE line 1/h");
    let mut waiters: Vec<Wire> = (0..4).map(|_| server.wire()).collect();
    for (n, waiter) in waiters.iter_mut().enumerate() {
        if n == 3 {
            silent(&mut wire);
        }
        waiter.send_line("RL.ACQUIRE line 1/h WAIT 30s");
    }
    let start = heard(&mut wire);
    assert_eq!(
        (&start["alert"], &start["key"], &start["value"]),
        (&"queue".into(), &"line".into(), &80.into())
    );
    server.line("DEL line");
    silent(&mut wire);
    server.clock_advance(60_000_000);
    let end = heard(&mut wire);
    assert_eq!((&end["alert"], &end["state"], &end["peak"]), (&"queue".into(), &"end".into(), &80.into()));
}

#[test]
fn latency_of_the_server() {
    let server = Server::start();
    server.clock_set(START);
    let mut wire = listener(&server);
    // What stalled before counts, too: begin with a minute without.
    server.clock_advance(61_000_000);
    while wire.try_read(Duration::from_millis(300)).unwrap().is_some() {}
    server.line("DEBUG SLEEP 0.4");
    let start = heard(&mut wire);
    assert_eq!(start["alert"], "latency");
    assert!(start["value"].as_u64().unwrap() >= 200 && start["key"].is_null(), "{start}");
}

#[test]
fn thresholds_are_settings() {
    let server = watched();
    if !server.at_least(7, 0) {
        return;
    }
    let mut wire = listener(&server);
    server.config_set("floodgate.alert-error-rate", "50");
    // The good ones first, so that it is never more than at the end: 47%.
    for n in 0..19 {
        server.line(if n < 10 { "CB.REPORT svc OK" } else { "CB.REPORT svc FAIL" });
    }
    silent(&mut wire);
    server.config_set("floodgate.alert-error-rate", "47");
    assert_eq!(heard(&mut wire)["threshold"], 47);
    // Switched off, it is over.
    server.config_set("floodgate.alert-error-rate", "0");
    assert_eq!(heard(&mut wire)["state"], "end");
    for (name, value) in [
        ("error-rate", "5"),
        ("queue", "80"),
        ("breaker-openings", "3"),
        ("breaker-open", "60s"),
        ("response-time", "500ms"),
        ("batch-failures", "10"),
        ("latency", "100ms"),
    ] {
        let fresh = Server::builder().module_args(Vec::<String>::new()).start();
        assert_eq!(fresh.config_get(&format!("floodgate.alert-{name}")).as_deref(), Some(value));
        assert!(call!(server, "CONFIG", "SET", format!("floodgate.alert-{name}"), "-1").error().is_some());
    }
}

#[test]
fn by_key_and_number() {
    let server = watched();
    for key in ["one", "two"] {
        for _ in 0..10 {
            server.line(&format!("CB.REPORT {key} FAIL BREAKER 1000"));
        }
        eventually(LIMIT, "an alert", || server.counter("alerts_active") == 1);
        server.clock_advance(UNTIL_UNJUDGED);
        eventually(LIMIT, "its end", || server.counter("alerts_active") == 0);
    }
    let keys =
        |reply: Reply| -> Vec<String> { reply.items().iter().map(|alert| field(alert, "key")).collect() };
    assert_eq!(keys(server.line("RL.ALERTS")), ["two", "one"]);
    assert_eq!(keys(server.line("RL.ALERTS 1")), ["two"]);
    assert_eq!(keys(server.line("RL.ALERTS KEY one")), ["one"]);
    assert_eq!(keys(server.line("RL.ALERTS 5 KEY none")), [""; 0]);
    if server.at_least(7, 0) {
        server.ok("ACL SETUSER tester reset on >pass ~on* +@all");
        let mut wire = server.wire();
        wire.line("AUTH tester pass");
        assert_eq!(keys(wire.line("RL.ALERTS")), ["one"]);
        server.config_set("floodgate.mask-keys", "yes");
        let masked = keys(server.line("RL.ALERTS KEY one"));
        assert!(masked[0].starts_with("***") && masked.len() == 1, "{masked:?}");
    }
    assert_error(&server.line("RL.ALERTS 0"), "ERR n must be a whole number from 1 to 128");
    assert_error_prefix(&server.line("RL.ALERTS KEY"), "ERR syntax error: KEY needs a value");
    assert_error_prefix(&server.line("RL.ALERTS 1 KEY a b"), "ERR syntax error near 'b'");
}

#[test]
fn masked_in_alerts_and_events() {
    let server = Server::builder()
        .args(["--hz", "100"])
        .module_args(["enable-debug-command", "yes", "mask-keys", "yes", "alert-latency", "0"])
        .start();
    server.clock_set(START);
    let mut wire = listener(&server);
    let mut events = server.wire();
    events.line("SUBSCRIBE floodgate:events");
    for _ in 0..10 {
        server.line("CB.REPORT secret FAIL BREAKER 10");
    }
    let alert = heard(&mut wire);
    assert_eq!(alert["alert"], "error-rate");
    let event = heard(&mut events);
    assert_eq!(event["to"], "open");
    for seen in [&alert["key"], &event["key"]] {
        assert!(seen.as_str().unwrap().starts_with("***"), "{seen}");
    }
    assert_eq!(alert["key"], event["key"]);
}

#[test]
fn masked_wherever_operators_look() {
    let server = Server::builder()
        .args(["--hz", "100", "--loglevel", "debug"])
        .module_args([
            "enable-debug-command",
            "yes",
            "mask-keys",
            "yes",
            "track-usage",
            "yes",
            "queue-max",
            "1",
        ])
        .start();
    server.clock_set(START);
    let mut told = server.wire();
    told.line("SUBSCRIBE floodgate:alerts floodgate:events");
    told.read();
    for _ in 0..10 {
        server.line("CB.REPORT secret:slow FAIL DUR 900ms BREAKER 99");
        server.line("RL.BATCH EACH 2 secret:batch 1/h 1 secret:batch 1/h 1");
        server.line("CB.ACQUIRE secret:slow LIMIT secret:limit 1/h");
    }
    server.line("CB.FORCE secret:held OPEN");
    server.line("RL.ACQUIRE secret:line 1/h");
    let mut waiter = server.wire();
    waiter.send_line("RL.ACQUIRE secret:line 1/h WAIT 30s");
    // What is refused is told in the log.
    server.call(&[&b"RESTORE"[..], b"secret:bad", b"0", b"nonsense"]);
    let mut texts = Vec::new();
    let mut kinds = Vec::new();
    while let Some(message) = told.try_read(Duration::from_millis(500)).unwrap() {
        let text = message[2].text();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        kinds.extend(json["alert"].as_str().map(str::to_owned));
        texts.push(text);
    }
    for kind in ["error-rate", "response-time", "batch-failures", "queue"] {
        assert!(kinds.iter().any(|told| told == kind), "{kind} of {kinds:?}");
    }
    for command in [
        "RL.ALERTS 128",
        "RL.TOP DENIED",
        "RL.TOP DENIED NOW",
        "RL.TOP GRANTED",
        "RL.TOP GRANTED NOW",
        "RL.TOP OPEN",
        "RL.METRICS",
        "INFO floodgate",
    ] {
        let reply = format!("{:?}", server.line(command));
        assert!(reply.contains("***") || command.starts_with("INFO"), "{command}: {reply}");
        texts.push(reply);
    }
    // The server's own lines may tell what it likes; ours begin with the module's name.
    texts.extend(server.log().lines().filter(|line| line.contains("floodgate")).map(str::to_owned));
    for text in texts {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn replicas_publish_nothing() {
    let server = watched();
    let replica = server.replica_with(&["--hz", "100"]);
    replica.clock_set(START);
    let mut there = listener(&replica);
    starts_and_ends(&server, "error-rate", Some("svc"), 100, UNTIL_UNJUDGED, || {
        for _ in 0..10 {
            server.line("CB.REPORT svc FAIL BREAKER 1000");
        }
    });
    crate::harness::wait_synced(&server, &replica);
    // Nor does it tell of what it sees itself.
    replica.line("DEBUG SLEEP 0.4");
    silent(&mut there);
    assert_eq!(replica.line("RL.ALERTS"), Reply::Array(vec![]));
    // A master that becomes a replica says so, and leaves the rest to the next.
    let mut here = listener(&server);
    for _ in 0..10 {
        server.line("CB.REPORT svc FAIL BREAKER 1000");
    }
    assert_eq!(heard(&mut here)["state"], "start");
    replica.ok("REPLICAOF NO ONE");
    server.follow(&replica);
    let end = heard(&mut here);
    assert_eq!((&end["alert"], &end["state"]), (&"error-rate".into(), &"end".into()));
    assert_eq!(server.line("RL.ALERTS 1")[0].get("active").unwrap().int(), 0);
    silent(&mut here);
    // Nor does it start again here, whatever the master does.
    for _ in 0..10 {
        replica.line("CB.REPORT svc FAIL BREAKER 1000");
    }
    assert_eq!(heard(&mut there)["state"], "start");
    silent(&mut here);
}

/// A lost trial is found long after it was lost: that empties nobody's minute.
#[test]
fn what_is_told_late_leaves_the_last_minute_alone() {
    let server = watched();
    let mut wire = listener(&server);
    server.line("CB.REPORT pay FAIL BREAKER 1:open=1s:lease=10s");
    server.clock_advance(1_000_000);
    server.line("CB.ACQUIRE pay");
    server.clock_advance(25_000_000);
    // Too few to tell, and just enough together with those of before.
    server.line("RL.RECORD job FAIL COUNT 5");
    silent(&mut wire);
    server.line("CB.ACQUIRE pay");
    server.line("RL.RECORD job FAIL COUNT 5");
    assert_eq!(heard(&mut wire)["alert"], "error-rate");
    server.clock_advance(1_000_000);
    silent(&mut wire);
    assert_eq!(server.line("RL.ALERTS 1")[0].get("active").unwrap().int(), 1);
    // And the lost trial's opening counts at its own time: with it, three in a minute.
    server.line("CB.REPORT other FAIL BREAKER 1");
    let start = heard(&mut wire);
    assert_eq!(
        (&start["alert"], &start["value"], &start["key"]),
        (&"breaker-openings".into(), &3.into(), &"pay".into())
    );
}

/// What was more than a minute ago when it is found is in nobody's minute.
#[test]
fn what_is_told_too_late_starts_nothing() {
    let server = Server::builder()
        .args(["--hz", "100"])
        .module_args(["enable-debug-command", "yes", "alert-latency", "0", "alert-breaker-open", "0"])
        .start();
    server.clock_set(START);
    let mut wire = listener(&server);
    server.line("CB.REPORT pay FAIL BREAKER 1:open=1s:lease=10s");
    server.clock_advance(1_000_000);
    server.line("CB.ACQUIRE pay");
    server.clock_advance(90_000_000);
    // Its trial was lost, and it opened, 80 seconds ago.
    assert_eq!(server.line("CB.ACQUIRE pay")[0], Reply::Int(1));
    for key in ["one", "two"] {
        server.line(&format!("CB.REPORT {key} FAIL BREAKER 1:open=1s"));
    }
    silent(&mut wire);
    server.line("CB.REPORT three FAIL BREAKER 1:open=1s");
    assert_eq!(heard(&mut wire)["alert"], "breaker-openings");
}

/// Ten failures a minute, in a row of six seconds: sometimes ten are in the last minute,
/// sometimes nine.
#[test]
fn an_alert_does_not_flap() {
    let server = watched();
    let mut wire = listener(&server);
    for _ in 0..50 {
        server.clock_advance(6_000_000);
        server.line("RL.RECORD job FAIL");
        // Let it look. On a busy machine it may look after the last result only.
        std::thread::sleep(Duration::from_millis(15));
    }
    let start = heard(&mut wire);
    assert_eq!(
        (&start["alert"], &start["state"], &start["key"]),
        (&"error-rate".into(), &"start".into(), &"job".into())
    );
    silent(&mut wire);
    assert_eq!(server.line("RL.ALERTS").items().len(), 1);
    server.clock_advance(UNTIL_UNJUDGED);
    assert_eq!(heard(&mut wire)["state"], "end");
}

#[test]
fn good_results_end_it_after_a_minute() {
    let server = watched();
    let mut wire = listener(&server);
    server.line("RL.RECORD job FAIL COUNT 20");
    assert_eq!(heard(&mut wire)["state"], "start");
    server.line("RL.RECORD job OK COUNT 1000");
    std::thread::sleep(Duration::from_millis(50));
    server.clock_advance(59_000_000);
    server.line("RL.RECORD job OK COUNT 1000");
    silent(&mut wire);
    server.clock_advance(1_500_000);
    assert_eq!(heard(&mut wire)["state"], "end");
}

/// The key with more than half of the weight is named, and none where none has.
#[test]
fn who_is_to_blame() {
    let blamed = |commands: &[&str]| {
        let server = watched();
        let mut wire = listener(&server);
        // All at once: the look is at the whole of it.
        server.wire().lines(&[&["MULTI"], commands, &["EXEC"]].concat());
        let start = heard(&mut wire);
        (start["alert"].as_str().unwrap().to_owned(), start["key"].as_str().map(str::to_owned))
    };
    let named = |alert: &str, key: Option<&str>| (alert.to_owned(), key.map(str::to_owned));
    let big = ["RL.RECORD big FAIL COUNT 1000", "RL.RECORD small FAIL", "RL.RECORD small FAIL"];
    assert_eq!(blamed(&big), named("error-rate", Some("big")));
    let eleven: Vec<String> = (0..11).map(|n| format!("RL.RECORD k{n} FAIL")).collect();
    assert_eq!(blamed(&eleven.iter().map(String::as_str).collect::<Vec<_>>()), named("error-rate", None));
    let half = ["RL.RECORD a FAIL COUNT 10", "RL.RECORD b FAIL COUNT 10"];
    assert_eq!(blamed(&half), named("error-rate", None));
    let more = ["RL.RECORD a FAIL COUNT 10", "RL.RECORD b FAIL COUNT 11"];
    assert_eq!(blamed(&more), named("error-rate", Some("b")));
    // Time, not calls, and of all calls.
    let slow = ["RL.RECORD quick OK DUR 400ms COUNT 20", "RL.RECORD slow OK DUR 9s COUNT 1"];
    assert_eq!(blamed(&slow), named("response-time", Some("slow")));
    let items = "RL.BATCH EACH 11 a 1/d 2 b 1/d 2 a 1/d 2 c 1/d 1 d 1/d 1 e 1/d 1 f 1/d 1 g 1/d 1 h 1/d 1 i 1/d 1 j 1/d 1";
    assert_eq!(blamed(&[items]), named("batch-failures", Some("a")));
}

#[test]
fn a_breaker_that_stays_open() {
    let server = watched();
    let mut wire = listener(&server);
    let longest = || server.counter("breaker_open_seconds_max");
    server.line("CB.REPORT pay FAIL BREAKER 1:open=61s");
    server.clock_advance(59_000_000);
    eventually(LIMIT, "the gauge", || longest() == 59);
    silent(&mut wire);
    server.clock_advance(1_000_000);
    let start = heard(&mut wire);
    assert_eq!(
        (&start["alert"], &start["state"], &start["key"]),
        (&"breaker-open".into(), &"start".into(), &"pay".into())
    );
    assert_eq!((&start["value"], &start["threshold"]), (&60.into(), &60.into()));
    // Past its deadline it waits for a call: nobody is denied.
    server.clock_advance(1_000_000);
    eventually(LIMIT, "the gauge", || longest() == 0);
    server.clock_advance(59_000_000);
    silent(&mut wire);
    server.clock_advance(1_000_000);
    assert_eq!(heard(&mut wire)["state"], "end");
    server.line("DEL pay");
    server.clock_advance(3_600_000_000);
    // Opened again and again by failing trials it is open all the while; an operator's
    // force is not.
    server.line("CB.FORCE held OPEN");
    server.line("CB.REPORT down FAIL BREAKER 1:open=40s");
    server.line("CB.REPORT late FAIL BREAKER 1:open=1h");
    server.line("CB.RESET late");
    for _ in 0..2 {
        server.clock_advance(40_000_000);
        let token = server.line("CB.ACQUIRE down")[2].text();
        call!(server, "CB.REPORT", "down", "FAIL", "TOKEN", token);
    }
    let start = heard(&mut wire);
    assert_eq!((&start["alert"], &start["key"]), (&"breaker-open".into(), &"down".into()));
    assert_eq!((&start["value"], &start["unit"]), (&80.into(), &"seconds".into()));
    server.line("CB.RESET down");
    eventually(LIMIT, "the gauge", || longest() == 0);
    server.clock_advance(59_000_000);
    silent(&mut wire);
    server.clock_advance(1_000_000);
    assert_eq!(heard(&mut wire)["state"], "end");
    silent(&mut wire);
    // So is one whose trial has no result yet: everybody else is denied meanwhile.
    server.line("CB.REPORT tried FAIL BREAKER 1:open=40s:lease=1m");
    server.clock_advance(40_000_000);
    assert_eq!(server.line("CB.ACQUIRE tried")[0], Reply::Int(1));
    server.clock_advance(19_000_000);
    silent(&mut wire);
    server.clock_advance(1_000_000);
    assert_eq!(heard(&mut wire)["key"], "tried");
}

#[test]
fn of_two_open_breakers_neither_is_named() {
    let server = watched();
    let mut wire = listener(&server);
    for key in ["a", "b"] {
        server.line(&format!("CB.REPORT {key} FAIL BREAKER 1:open=1h"));
    }
    server.clock_advance(60_000_000);
    let start = heard(&mut wire);
    assert_eq!((&start["alert"], &start["key"]), (&"breaker-open".into(), &serde_json::Value::Null));
}
