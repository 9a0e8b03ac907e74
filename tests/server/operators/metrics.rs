//! RL.METRICS: INFO's numbers as a map, and counts that carry a label.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::harness::{Reply, Server, assert_error_prefix};

fn number(server: &Server, name: &str) -> i64 {
    server.line("RL.METRICS").get(name).unwrap_or_else(|| panic!("no {name}")).int()
}

#[test]
fn the_same_numbers_as_info() {
    let server = Server::start();
    for command in ["RL.ACQUIRE k 1/h", "RL.ACQUIRE k 1/h", "CB.ACQUIRE b", "CB.REPORT b FAIL DUR 5ms"] {
        server.line(command);
    }
    let metrics = server.line("RL.METRICS");
    let info = server.info("floodgate");
    let mut compared = 0;
    for (name, value) in &info {
        let name = name.strip_prefix("floodgate_").unwrap();
        let told = metrics.get(name).unwrap_or_else(|| panic!("no {name}"));
        // What is timed goes on being timed.
        if !name.starts_with("command_latency") && !name.starts_with("stall_") {
            let told = match told {
                Reply::Int(n) => n.to_string(),
                text => text.text(),
            };
            assert_eq!(&told, value, "{name}");
        }
        compared += 1;
    }
    assert!(compared > 40);
    assert_eq!(number(&server, "acquire_granted"), 1);
    assert_eq!(number(&server, "acquire_denied"), 1);
    assert_eq!(number(&server, "response_count"), 1);
    assert_eq!(number(&server, "response_us_sum"), 5000);
    assert_error_prefix(&server.line("RL.METRICS x"), "ERR wrong number of arguments");
}

/// Both counts are of keys, so that a part of their sum is a share of the decisions.
#[test]
fn a_reservation_counts_once_on_each_key() {
    let server = Server::start();
    for cost in [3, 2, 2] {
        server.line(&format!("RL.RESERVE 3 {{t}}a 10/h {{t}}b 4/h {{t}}c 10/h COST {cost} TTL 1m"));
    }
    assert_eq!([number(&server, "reservations_granted"), number(&server, "reservations_denied")], [3, 6]);
}

#[test]
fn a_map_in_resp3() {
    let server = Server::start();
    if server.at_least(7, 0) {
        let reply = server.wire3().line("RL.METRICS");
        assert_eq!(reply.get("acquire_granted"), Some(Reply::Int(0)));
        assert!(matches!(reply, Reply::Map(_)), "{reply:?}");
    }
}

#[test]
fn shadow_denials_by_limit() {
    let server = Server::at_t0();
    for _ in 0..4 {
        server.line("RL.ACQUIRE a 1/h:shadow,2/d:shadow:name=daily");
    }
    server.line("RL.ACQUIRE b 1/h:shadow COST 2");
    // Looks and failed batches decide nothing twice.
    server.line("RL.QUOTA b");
    server.line("RL.BATCH EACH 2 b 1/h:shadow 2 b 1/h:shadow 2");
    let metrics = server.line("RL.METRICS");
    let by_limit = metrics.get("shadow_denied_by_limit").unwrap();
    assert_eq!((by_limit.get("1/h").unwrap().int(), by_limit.get("daily").unwrap().int()), (6, 2));
    assert_eq!(metrics.get("shadow_denied").unwrap().int(), 8);
    // However many limits there are, the labels are bounded and none is lost.
    for i in 0..150 {
        server.line(&format!("RL.ACQUIRE c 1/h:shadow:name=n{i} COST 2"));
    }
    let metrics = server.line("RL.METRICS");
    let labels = metrics.get("shadow_denied_by_limit").unwrap().pairs();
    let counts: BTreeMap<String, i64> = labels.iter().map(|(name, n)| (name.text(), n.int())).collect();
    assert_eq!((counts.len(), counts["(other)"]), (101, 52));
    assert_eq!(counts.values().sum::<i64>(), 158);
}

/// The counts under each label of a map of RL.METRICS.
fn labelled(server: &Server, name: &str) -> BTreeMap<String, i64> {
    let rows = server.line("RL.METRICS").field(name).pairs();
    rows.iter().map(|(label, n)| (label.text(), n.int())).collect()
}

fn owned(rows: &[(&str, i64)]) -> BTreeMap<String, i64> {
    rows.iter().map(|&(name, n)| (name.to_owned(), n)).collect()
}

#[test]
fn every_command_that_takes_counts_under_labels() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET gold 1/h,1/d:shadow:name=trial");
    for (command, granted, denied, shadow) in [
        ("RL.ACQUIRE acquire @gold COST 1", 1, 0, 0),
        ("RL.ACQUIRE acquire @gold COST 1", 0, 1, 1),
        ("RL.RESERVE 1 reserve @gold TTL 1h ID one", 1, 0, 0),
        // The same reservation is no other decision.
        ("RL.RESERVE 1 reserve @gold TTL 1h ID one", 0, 0, 0),
        ("RL.RESERVE 2 reserve @gold fresh @gold TTL 1h ID two", 0, 1, 1),
        ("CB.ACQUIRE breaker LIMIT limit @gold", 1, 0, 0),
        ("CB.ACQUIRE breaker LIMIT limit @gold", 0, 1, 1),
        ("RL.BATCH EACH 2 batch @gold 1 batch @gold 1", 1, 1, 1),
        // Neither is granted, and only one is denied by its policy.
        ("RL.BATCH ALL 2 batch @gold 1 fresh @gold 1", 0, 1, 1),
        ("RL.PIN throttle @gold", 0, 0, 0),
        ("CL.THROTTLE throttle 5 5 60", 1, 0, 0),
        ("CL.THROTTLE throttle 5 5 60", 0, 1, 1),
        ("CL.THROTTLE throttle 5 5 60 0", 0, 0, 0),
        // A breaker that denies does not ask the limit.
        ("CB.FORCE breaker OPEN", 0, 0, 0),
        ("CB.ACQUIRE breaker LIMIT limit @gold", 0, 0, 0),
        // Nor does a block.
        ("RL.BLOCK reserve FOREVER", 0, 0, 0),
        ("RL.RESERVE 1 reserve @gold TTL 1h", 0, 0, 0),
        ("RL.QUOTA acquire @gold", 0, 0, 0),
    ] {
        let counts = || {
            ["granted_by_policy", "denied_by_policy", "shadow_denied_by_limit"]
                .map(|name| labelled(&server, name).values().sum::<i64>())
        };
        let before = counts();
        server.line(command);
        let after = counts();
        let changed: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(changed, [granted, denied, shadow], "{command}");
    }
    assert_eq!(labelled(&server, "granted_by_policy").keys().collect::<Vec<_>>(), ["gold"]);
    let shadow = labelled(&server, "shadow_denied_by_limit");
    assert_eq!(shadow.keys().collect::<Vec<_>>(), ["trial"]);
    assert_eq!(shadow["trial"], number(&server, "shadow_denied"));
    assert_eq!(number(&server, "blocked_denied"), 1);
}

#[test]
fn a_waiter_counts_under_labels_when_it_is_served() {
    let server = Server::at_t0();
    server.ok("RL.POLICY SET slow fixed:1/s");
    server.line("RL.RESERVE 1 w @slow TTL 1h");
    let mut wire = server.wire();
    wire.send_line("RL.RESERVE 1 w @slow TTL 1h WAIT 5s");
    crate::harness::eventually(std::time::Duration::from_secs(30), "it waits", || {
        number(&server, "waiting_now") == 1
    });
    assert_eq!(labelled(&server, "granted_by_policy"), owned(&[("slow", 1)]));
    server.clock_advance(1_000_000);
    assert!(!wire.read()[0].is_nil());
    assert_eq!(labelled(&server, "granted_by_policy"), owned(&[("slow", 2)]));
}

/// What durations may add up to of which so many are known to be at most each bound, as Prometheus counts.
fn possible_sum(buckets: Vec<(Reply, Reply)>) -> RangeInclusive<i64> {
    let (mut least, mut most, mut below, mut counted) = (0, 0, -1, 0);
    for (bound, up_to) in buckets {
        let count = up_to.int() - counted;
        counted = up_to.int();
        least += count * (below + 1);
        // The last bucket has no bound.
        below = bound.text().parse().unwrap_or(i64::from(i32::MAX));
        most += count * below;
    }
    least..=most
}

#[test]
fn how_long_each_command_takes() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.lines(&["RL.ACQUIRE k 1/h"; 3000]);
    wire.lines(&["cb.acquire b"; 1000]);
    let metrics = server.line("RL.METRICS");
    let by_command = metrics.field("command_latency_us_by_command").pairs();
    let counts: BTreeMap<String, Vec<i64>> = by_command
        .iter()
        .map(|(name, buckets)| (name.text(), buckets.pairs().iter().map(|(_, n)| n.int()).collect()))
        .collect();
    let of = |name: &str| *counts[name].last().unwrap();
    // One in sixteen of each.
    assert!((110..300).contains(&of("RL.ACQUIRE")) && (30..120).contains(&of("CB.ACQUIRE")), "{counts:?}");
    // Together they are the whole, bucket by bucket.
    let all: Vec<i64> = metrics.field("command_latency_us").pairs().iter().map(|(_, n)| n.int()).collect();
    let sum = |bucket: usize| counts.values().map(|buckets| buckets[bucket]).sum::<i64>();
    assert_eq!(all, (0..all.len()).map(sum).collect::<Vec<_>>());
    let sums = metrics.field("command_latency_us_sum_by_command").pairs();
    assert_eq!(sums.len(), counts.len());
    for (name, us) in &sums {
        let of_command = by_command.iter().find(|(other, _)| other == name).unwrap();
        let possible = possible_sum(of_command.1.pairs());
        assert!(possible.contains(&us.int()), "{name:?}: {us:?} us, not {possible:?}");
    }
    let sum: i64 = sums.iter().map(|(_, us)| us.int()).sum();
    assert_eq!(sum, metrics.field("command_latency_us_sum").int());
}

#[test]
fn how_long_commands_take() {
    let server = Server::start();
    let mut wire = server.wire();
    wire.lines(&["RL.ACQUIRE k 1/h"; 4000]);
    let metrics = server.line("RL.METRICS");
    let timed = metrics.get("command_latency_count").unwrap().int();
    // One in sixteen of 4000.
    assert!((150..400).contains(&timed), "{timed}");
    let buckets = metrics.get("command_latency_us").unwrap().pairs();
    let counts: Vec<i64> = buckets.iter().map(|(_, n)| n.int()).collect();
    assert!(counts.is_sorted());
    assert_eq!(counts.last(), Some(&timed));
    assert_eq!(buckets.last().unwrap().0.text(), "inf");
    let p = |n: u8| metrics.get(&format!("command_latency_us_p{n}")).unwrap().int();
    assert!(p(50) >= 1 && p(50) <= p(95) && p(95) <= p(99), "{} {} {}", p(50), p(95), p(99));
}

#[test]
fn counts_by_policy_begin_at_zero() {
    let server = Server::start();
    let counts = |name: &str| labelled(&server, name);
    server.ok("RL.POLICY SET gold 1/h");
    server.ok("RL.POLICY SET api 1/h PREFIX api:");
    for name in ["granted_by_policy", "denied_by_policy"] {
        assert_eq!(counts(name), owned(&[("api", 0), ("gold", 0)]));
    }
    server.line("RL.ACQUIRE a @gold");
    server.line("RL.ACQUIRE a @gold");
    server.line("RL.ACQUIRE b @gold,9/m");
    assert_eq!(counts("granted_by_policy"), owned(&[("api", 0), ("gold", 1), ("@gold,9/m", 1)]));
    // One that is gone is told of as long as it was counted.
    server.line("RL.POLICY DEL gold");
    server.line("RL.POLICY DEL api");
    assert_eq!(counts("denied_by_policy"), owned(&[("gold", 1), ("@gold,9/m", 0)]));
    // A hundred have a place, and all others one together.
    for n in 0..150 {
        server.ok(&format!("RL.POLICY SET p{n:03} 1/h"));
    }
    let all = counts("granted_by_policy");
    assert_eq!((all.len(), all.get("(other)")), (101, Some(&0)));
    server.line("RL.ACQUIRE c @p149");
    server.line("RL.ACQUIRE d @p000");
    let all = counts("granted_by_policy");
    let count = |name: &str| all.get(name).copied();
    assert_eq!([count("(other)"), count("p000"), count("p149")], [Some(1), Some(1), None]);
}

#[test]
fn decisions_by_policy() {
    let server = Server::start();
    server.ok("RL.POLICY SET gold 2/h");
    server.ok("RL.POLICY SET api 1/h PREFIX api:");
    for command in [
        "RL.ACQUIRE a @gold",
        "RL.ACQUIRE a @gold",
        "RL.ACQUIRE a @gold",
        "RL.ACQUIRE api:1",
        "RL.ACQUIRE api:1",
    ] {
        server.line(command);
    }
    server.line("RL.ACQUIRE b @gold,9/m");
    // Limits of a call's own are nobody's policy.
    server.line("RL.ACQUIRE c 2/h");
    let counts = |name: &str| labelled(&server, name);
    assert_eq!(counts("granted_by_policy"), owned(&[("gold", 2), ("api", 1), ("@gold,9/m", 1)]));
    assert_eq!(counts("denied_by_policy"), owned(&[("gold", 1), ("api", 1), ("@gold,9/m", 0)]));
}
