//! What others see of breakers: events, INFO, errors, rights; and many callers
//! at once.

use crate::breakers::fixtures::Key;
use crate::harness::{Reply, Server, Wire, assert_error, assert_error_prefix, call, wait_synced};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Everything that came on a channel up to now, as (channel, message).
fn messages(subscriber: &mut Wire) -> Vec<(String, String)> {
    let mut all = Vec::new();
    while let Some(push) = subscriber.push(Duration::from_millis(100)) {
        if let [kind, .., channel, message] = push.items()
            && kind.text().ends_with("message")
        {
            all.push((channel.text(), message.text()));
        }
    }
    all
}

/// A circuit goes through all that its results, time and operators can make of it.
fn one_of_each(server: &Server, key: &Key<'_>) {
    key.admit();
    assert_eq!(key.run("sfss"), "cooo");
    key.wait_ms(1000);
    server.line("CB.STATE k");
    key.admit();
    key.deny();
    // The lost trial and the new opening are found by one call.
    key.wait_ms(2000);
    let trial = key.admit();
    assert!(key.ok(&trial) && !key.ok(&trial));
    server.ok("CB.FORCE k OPEN FOR 1s");
    server.ok("CB.FORCE k OPEN FOR 2s");
    key.wait_ms(2000);
    key.admit();
    server.line("CB.RESET k");
}

const BREAKER: &str = "1:open=1s:lease=1s:probes=1";

#[test]
fn each_transition_is_told_once() {
    let server = Server::at_t0();
    let replica = server.replica();
    let mut listener = server.wire3();
    listener.send_line("SUBSCRIBE floodgate:events");
    let mut follower = replica.wire3();
    follower.send_line("SUBSCRIBE floodgate:events");
    messages(&mut listener);
    one_of_each(&server, &Key::new(&server, "k", BREAKER));

    let told: Vec<serde_json::Value> =
        messages(&mut listener).iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    let steps: Vec<_> = told
        .iter()
        .map(|event| {
            assert_eq!((&event["event"], &event["key"]), (&"breaker".into(), &"k".into()));
            format!(
                "{} {} {}",
                event["from"].as_str().unwrap(),
                event["to"].as_str().unwrap(),
                event["cause"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            "closed open failures",
            "open half-open deadline-passed",
            "half-open open trial-lost",
            "open half-open deadline-passed",
            "half-open closed trials-succeeded",
            "closed forced-open forced",
            "forced-open closed force-ended",
        ]
    );
    let start = crate::harness::T0 / 1000;
    let times: Vec<_> = told.iter().map(|event| event["at_ms"].as_i64().unwrap() - start).collect();
    assert_eq!(times, [0, 1000, 2000, 3000, 3000, 3000, 5000]);
    let epochs: Vec<_> = told.iter().map(|event| event["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");

    // The replica says nothing of its own.
    wait_synced(&server, &replica);
    assert_eq!(messages(&mut follower), []);
}

#[test]
fn nothing_is_told_with_the_setting_events_off() {
    let server = Server::at_t0();
    // Before 7.0 a module has no settings that change.
    if !server.at_least(7, 0) {
        return;
    }
    let mut listener = server.wire3();
    listener.send_line("SUBSCRIBE floodgate:events");
    let key = Key::new(&server, "k", BREAKER);
    key.run("f");
    // The answer to SUBSCRIBE is no message.
    assert_eq!(messages(&mut listener).len(), 1);
    server.config_set("floodgate.events", "no");
    server.line("CB.RESET k");
    assert_eq!(messages(&mut listener), []);
}

#[test]
fn each_transition_is_counted_once() {
    let server = Server::at_t0();
    let replica = server.replica();
    let key = Key::new(&server, "k", BREAKER);
    one_of_each(&server, &key);
    for (name, times) in [
        ("to_open", 2),
        ("to_half_open", 2),
        ("to_closed", 2),
        ("to_forced_open", 1),
        ("to_forced_closed", 0),
        ("lost_trials", 1),
        ("denied_half_open", 1),
        ("stale_reports", 3),
        ("reports_ok", 2),
        ("reports_fail", 1),
        ("admitted", 4),
    ] {
        assert_eq!(server.counter(&format!("breaker_{name}")), times, "{name}");
    }
    assert_eq!(server.counter("breakers_closed"), 1);
    key.run("f");
    assert_eq!((server.counter("breakers_closed"), server.counter("breakers_open")), (0, 1));
    wait_synced(&server, &replica);
    assert_eq!((replica.counter("breakers_open"), replica.counter("breaker_to_open")), (1, 0));
}

#[test]
fn transitions_are_keyspace_events_of_the_module_class() {
    let server = Server::with(&["--notify-keyspace-events", "Ed"]);
    server.clock_set(crate::harness::T0);
    let mut listener = server.wire3();
    listener.send_line("PSUBSCRIBE __keyevent@0__:cb.*");
    messages(&mut listener);
    let key = Key::new(&server, "k", "1:open=1s");
    key.run("f");
    key.wait_ms(1000);
    let trial = key.admit();
    key.ok(&trial);
    let names: Vec<_> = messages(&mut listener)
        .into_iter()
        .map(|(channel, key)| {
            assert_eq!(key, "k");
            channel.trim_start_matches("__keyevent@0__:").to_owned()
        })
        .collect();
    assert_eq!(names, ["cb.report", "cb.open", "cb.acquire", "cb.half-open", "cb.report", "cb.closed"]);
}

#[test]
fn arguments_too_few_or_too_many_are_refused() {
    let server = Server::at_t0();
    for command in [
        "CB.ACQUIRE",
        "CB.REPORT k",
        "CB.STATE",
        "CB.STATE k k2",
        "CB.FORCE k",
        "CB.RESET",
        "CB.RESET k k2",
        "CB.PIN k",
        "CB.UNPIN k x",
        "CB.HELP acquire x",
    ] {
        let reply = server.line(command);
        let text = reply.error().unwrap_or_else(|| panic!("{command}: {reply:?}"));
        assert!(
            text.starts_with("ERR wrong number of arguments") || text.starts_with("ERR syntax error near"),
            "{command}: {text}"
        );
    }
}

#[test]
fn the_bad_argument_is_named_and_creates_no_key() {
    let server = Server::at_t0();
    for (command, error) in [
        ("CB.ACQUIRE k 5 6", "ERR syntax error near '6'"),
        ("CB.ACQUIRE k 0", "ERR invalid breaker '0': "),
        ("CB.ACQUIRE k 50%", "ERR invalid breaker '50%': "),
        ("CB.ACQUIRE k 50%/60s:nonsense=1", "ERR invalid breaker '50%/60s:nonsense=1': "),
        ("CB.ACQUIRE k 101%/60s", "ERR invalid breaker '101%/60s': "),
        ("CB.ACQUIRE k 50%/1001calls", "ERR invalid breaker '50%/1001calls': "),
        ("CB.ACQUIRE k 5:open=0", "ERR invalid breaker '5:open=0': "),
        ("CB.ACQUIRE k 5:slow=1s", "ERR invalid breaker '5:slow=1s': "),
        ("CB.REPORT k MAYBE", "ERR syntax error near 'MAYBE'"),
        ("CB.REPORT k OK TOKEN", "ERR syntax error: TOKEN needs a value"),
        ("CB.REPORT k OK TOKEN c-01", "ERR invalid token 'c-01': CB.ACQUIRE gave no such token"),
        ("CB.REPORT k OK TOKEN x", "ERR invalid token 'x': "),
        ("CB.REPORT k OK TOKEN t-99999999999999999999999-1", "ERR invalid token "),
        ("CB.REPORT k OK DUR -1", "ERR invalid duration '-1': "),
        ("CB.REPORT k OK BREAKER 5x", "ERR invalid breaker '5x': "),
        ("CB.REPORT k OK extra", "ERR syntax error near 'extra'"),
        ("CB.FORCE k AJAR", "ERR syntax error near 'AJAR'"),
        ("CB.FORCE k AUTO FOR 5s", "ERR syntax error near 'FOR'"),
        ("CB.FORCE k OPEN FOR 0", "ERR invalid duration '0': must be at least 1ms"),
        ("CB.FORCE k OPEN FOR 367d", "ERR invalid duration '367d': "),
        ("CB.PIN k 5x", "ERR invalid breaker '5x': "),
        ("CB.PIN k 5 FOR", "ERR syntax error: FOR needs a value"),
        ("CB.PIN k 5 5", "ERR syntax error near '5'"),
    ] {
        assert_error_prefix(&server.line(command), error);
    }
    let long = "x".repeat(257);
    assert_error(
        &server.call(&["CB.FORCE", "k", "OPEN", "REASON", &long]),
        "ERR REASON must be at most 256 bytes",
    );
    let odd = call!(server, "CB.ACQUIRE", "k", b"\xff\0\n");
    assert_error_prefix(&odd, "ERR invalid breaker '\\xff\\x00\\n': ");
    assert_error_prefix(&call!(server, "RL.EFFECT", "k", b"\x21\0"), "ERR RL.EFFECT carries effects");
    assert_eq!(server.line("EXISTS k"), Reply::Int(0));
    // Any bytes are a key.
    assert_eq!(call!(server, "CB.ACQUIRE", b"\0\xff")[0], Reply::Int(1));
}

#[test]
fn a_key_of_another_type_is_refused() {
    let server = Server::at_t0();
    server.line("SET text x");
    server.line("RL.ACQUIRE limit 5/h");
    for command in
        ["CB.ACQUIRE", "CB.REPORT OK", "CB.STATE", "CB.FORCE OPEN", "CB.RESET", "CB.PIN 5", "CB.UNPIN"]
    {
        for key in ["text", "limit"] {
            let mut words: Vec<_> = command.split(' ').collect();
            words.insert(1, key);
            assert_error_prefix(
                &server.call(&words),
                "WRONGTYPE Operation against a key holding the wrong kind of value",
            );
        }
    }
    server.line("CB.ACQUIRE breaker");
    assert_error_prefix(&server.line("RL.ACQUIRE breaker 5/h"), "WRONGTYPE ");
    assert_error_prefix(&server.line("GET breaker"), "WRONGTYPE ");
}

#[test]
fn the_map_has_every_field_in_both_protocols() {
    let server = Server::at_t0();
    let key = Key::new(&server, "k", "50%/60s:slow=1s:open=2s");
    key.run("sfl");
    let names = [
        "state",
        "since",
        "retry_after_ms",
        "calls",
        "failures",
        "slow",
        "failure_rate",
        "slow_rate",
        "openings",
        "epoch",
        "trials_in_flight",
        "forced",
        "breaker",
        "source",
        "next_open_ms",
    ];
    let two = server.line("CB.STATE k");
    let mut wire = server.wire3();
    let three = wire.line("CB.STATE k");
    // Before 7.0 a module cannot send maps.
    assert_eq!(matches!(three, Reply::Map(_)), server.at_least(7, 0));
    for reply in [&two, &three] {
        let seen: Vec<_> = reply.pairs().iter().map(|(name, _)| name.text()).collect();
        assert_eq!(seen, names);
        assert_eq!(reply.field("breaker").text(), "50%/1m:slow=1s:open=2s");
        assert_eq!(reply.field("since").int(), crate::harness::T0 / 1000);
        assert!(reply.field("forced").is_nil());
    }
    assert!(server.line("CB.STATE none").is_nil() && wire.line("CB.STATE none").is_nil());
    assert_eq!(wire.line("CB.ACQUIRE k")[1], Reply::bulk("closed"));
    server.ok("CB.FORCE k OPEN");
    let forced = wire.line("CB.STATE k").field("forced");
    assert_eq!(matches!(forced, Reply::Map(_)), server.at_least(7, 0));
}

#[test]
fn operators_commands_are_for_operators() {
    let server = Server::at_t0();
    for (name, admin, flags) in [
        ("CB.ACQUIRE", false, &["write", "denyoom", "fast"][..]),
        ("CB.REPORT", false, &["write", "fast"]),
        ("CB.STATE", false, &["readonly", "fast"]),
        ("CB.FORCE", true, &["write", "fast"]),
        ("CB.RESET", true, &["write", "fast"]),
        ("CB.PIN", true, &["write", "denyoom", "fast"]),
        ("CB.UNPIN", true, &["write", "fast"]),
    ] {
        let info = server.call(&["COMMAND", "INFO", name])[0].clone();
        let has: Vec<_> = info[2].items().iter().map(Reply::text).collect();
        for flag in flags {
            assert!(has.iter().any(|one| one == flag), "{name}: {has:?}");
        }
        assert_eq!(has.iter().any(|one| one == "admin"), admin, "{name}: {has:?}");
        assert_eq!(has.iter().any(|one| one == "denyoom"), flags.contains(&"denyoom"), "{name}: {has:?}");
    }
    let help = server.line("CB.HELP");
    for name in [
        "CB.ACQUIRE key [breaker] [LIMIT rlkey limits [COST n] [TTL duration [ID id]] [CRITICAL]]",
        "CB.STATE key",
        "CB.UNPIN key",
        "CB.HELP [command]",
    ] {
        assert!(help.items().contains(&Reply::Bulk(name.into())), "{help:?}");
    }
    // A full server still takes results.
    server.line("CB.ACQUIRE k 1");
    server.config_set("maxmemory", "1");
    assert_error_prefix(&server.line("CB.ACQUIRE other"), "OOM ");
    assert_eq!(server.line("CB.REPORT k FAIL")[1], Reply::bulk("open"));
    assert_eq!(server.line("CB.RESET k"), Reply::Int(1));
}

#[test]
fn a_half_open_breaker_lets_exactly_its_probes_through() {
    const CLIENTS: usize = 64;
    let server = Arc::new(Server::at_t0());
    for (name, probes) in [("one", 1), ("seven", 7)] {
        server.line(&format!("CB.REPORT {name} FAIL BREAKER 1:open=1s:probes={probes}"));
        server.clock_advance(1_000_000);
        let start = Arc::new(Barrier::new(CLIENTS));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (server, start) = (Arc::clone(&server), Arc::clone(&start));
                std::thread::spawn(move || {
                    let mut wire = server.wire();
                    start.wait();
                    let replies: Vec<_> = (0..20).map(|_| call!(wire, "CB.ACQUIRE", name)).collect();
                    replies
                        .into_iter()
                        .filter(|reply| reply[0].int() == 1)
                        .map(|reply| reply[2].text())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut tokens: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), probes);
        for token in tokens {
            assert_eq!(server.call(&["CB.REPORT", name, "OK", "TOKEN", &token])[0], Reply::Int(1));
        }
        assert_eq!(server.call(&["CB.STATE", name]).field("state").text(), "closed");
    }
}

#[test]
fn the_same_moment_in_a_transaction_and_a_script() {
    let server = Server::at_t0();
    server.line("CB.ACQUIRE k 1:open=1s");
    let mut wire = server.wire();
    wire.line("MULTI");
    for command in ["CB.REPORT k FAIL", "CB.ACQUIRE k", "CB.STATE k"] {
        wire.line(command);
    }
    let all = wire.line("EXEC");
    assert_eq!(
        (all[0][1].text(), all[1][0].int(), all[2].field("state").text()),
        ("open".into(), 0, "open".into())
    );
    server.clock_advance(1_000_000);
    let script = "local a = redis.call('CB.ACQUIRE', KEYS[1]); return redis.call('CB.REPORT', KEYS[1], 'OK', 'TOKEN', a[3])";
    let reply = wire.call(&["EVAL", script, "1", "k"]);
    assert_eq!(reply, Reply::Array(vec![Reply::Int(1), Reply::bulk("closed")]));
}
