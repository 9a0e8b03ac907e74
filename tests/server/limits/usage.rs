//! Usage: what happened on a key, by hour and by day.

use crate::harness::{
    Reply, Server, assert_error, assert_error_prefix, assert_same_data, assert_survives_kill, call, cluster,
    snapshot, wait_synced,
};
use crate::queue::fixtures::waits;
use crate::support::Dice;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-11-20 15:00 UTC.
const START: i64 = 1_795_186_800_000_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn stats(server: &Server, key: &str) -> Reply {
    server.call(&["RL.STATS", key])
}

/// Numbers of figures by their names.
fn numbers(figures: &Reply, names: &[&str]) -> Vec<i64> {
    names.iter().map(|name| figures.field(name).int()).collect()
}

const DECIDED: [&str; 4] = ["requests", "granted", "denied", "denied_requests"];
const OUTCOMES: [&str; 3] = ["ok", "fail", "cached"];

#[test]
fn tracked_calls_and_outcomes_are_counted() {
    let server = Server::start();
    server.clock_set(START);
    // Not tracked, nothing to show.
    server.line("RL.ACQUIRE k 10/d");
    assert!(stats(&server, "k").is_nil());
    assert!(stats(&server, "missing").is_nil());
    server.line("RL.ACQUIRE k 10/d TRACK COST 4");
    // Once it is tracked, every call counts: granted, in part, and denied.
    server.line("RL.ACQUIRE k 10/d COST 7 PARTIAL");
    server.line("RL.ACQUIRE k 10/d COST 3");
    server.line("RL.BATCH EACH 2 k 10/d 1 other 10/d 1");
    server.line("RL.BATCH ALL 2 other 10/d 1 k 10/d 2");
    assert!(stats(&server, "other").is_nil());
    let shown = stats(&server, "k");
    assert_eq!(shown.field("limits"), Reply::bulk("10/d"));
    assert_eq!(numbers(&shown.field("total"), &DECIDED), [5, 9, 8, 3]);
    assert_eq!(shown.field("today"), shown.field("total"));
    for reply in [
        server.line("RL.RECORD k OK CACHED SPEND 0.1 DUR 20ms"),
        server.line("RL.RECORD k fail spend 0.2 dur 1s count 2"),
        server.line("RL.RECORD k OK SPEND .000000001 DUR 25ms COUNT 5"),
    ] {
        assert_eq!(reply, Reply::ok());
    }
    let total = stats(&server, "k").field("total");
    assert_eq!(numbers(&total, &OUTCOMES), [6, 2, 1]);
    assert_eq!(total.field("spend"), Reply::bulk("0.300000001"));
    assert_eq!(total.field("error_rate"), Reply::bulk("0.25"));
    assert_eq!(total.field("cache_hit_rate"), Reply::bulk("0.125"));
    let times: Vec<i64> = numbers(&total, &["p50_ms", "p95_ms", "p99_ms"]);
    assert_eq!(times[0], 25);
    assert!(times[1..].iter().all(|ms| (ms - 1000).abs() * 32 <= 1000), "{times:?}");
    // The series: hours and days in which something happened.
    let shown = stats(&server, "k");
    let names = |title: &str| -> Vec<String> {
        shown.field(title).pairs().iter().map(|(name, _)| name.text()).collect()
    };
    assert_eq!(
        (names("hours"), names("days")),
        (vec!["2026-11-20T15".to_owned()], vec!["2026-11-20".to_owned()])
    );
    assert_eq!(numbers(&shown.field("days").field("2026-11-20"), &DECIDED), [5, 9, 8, 3]);
    let few = server.line("RL.STATS k DAYS 2 HOURS 0");
    assert_eq!((few.field("hours").pairs().len(), few.field("days").pairs().len()), (0, 1));
    // RL.RECORD works on any key, and RL.RESET keeps the history.
    server.ok("RL.RECORD fresh OK");
    assert!(stats(&server, "fresh").field("limits").is_nil());
    assert_eq!(server.line("TYPE fresh").text(), "ratelimit");
    assert_eq!(server.line("RL.RESET k"), Reply::Int(1));
    assert_eq!(numbers(&stats(&server, "k").field("total"), &DECIDED), [5, 9, 8, 3]);
    let mut three = server.wire3();
    // Before 7.0 a module cannot send maps.
    let map = matches!(three.line("RL.STATS k").field("hours"), Reply::Map(_));
    assert_eq!(map, server.at_least(7, 0));
}

#[test]
fn throttling_counts_too() {
    let server = Server::start();
    server.clock_set(START);
    server.ok("RL.RECORD t OK");
    for (call, limited) in [("t 1 1 60 2", 0), ("t 1 1 60", 1), ("t 1 1 60 0", 0)] {
        assert_eq!(server.line(&format!("CL.THROTTLE {call}"))[0], Reply::Int(limited), "{call}");
    }
    // A look (quantity 0) is no request.
    assert_eq!(numbers(&stats(&server, "t").field("total"), &DECIDED), [2, 2, 1, 1]);
    // Limits of the server's choosing decide and count alike.
    server.ok("RL.PIN t 5/m");
    server.line("CL.THROTTLE t 1 1 60 4");
    assert_eq!(numbers(&stats(&server, "t").field("total"), &DECIDED), [3, 6, 1, 1]);
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start();
    server.ok("SET string 1");
    for (command, error) in [
        ("RL.RECORD k", "ERR wrong number of arguments for 'rl.record' command"),
        ("RL.RECORD k MAYBE", "ERR syntax error near 'MAYBE'"),
        (
            "RL.RECORD k OK SPEND 1,5",
            "ERR invalid decimal '1,5': expected a number, such as 12, -0.5 or 1e-7",
        ),
        ("RL.RECORD k OK DUR soon", "ERR invalid duration 'soon': "),
        ("RL.RECORD k OK COUNT 0", "ERR COUNT must be a whole number from 1 to 1000000000000"),
        ("RL.RECORD string OK", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RL.STATS string", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RL.STATS k HOURS 25", "ERR HOURS must be a whole number from 0 to 24"),
        ("RL.STATS k DAYS x", "ERR DAYS must be a whole number from 0 to 30"),
        ("RL.USAGE x", "ERR invalid cursor"),
    ] {
        // Before 7.0 the name comes back as typed.
        if !server.at_least(7, 0) && error.starts_with("ERR wrong number") {
            continue;
        }
        assert_error_prefix(&server.line(command), error);
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(1));
}

/// Spend as programs print it.
#[test]
fn spend_is_what_programs_print() {
    let server = Server::start();
    server.clock_set(START);
    let sum = |spend: &str| {
        server.ok(&format!("RL.RECORD k OK SPEND {spend}"));
        stats(&server, "k").field("total").field("spend").text()
    };
    for (spend, total) in [
        ("1e-07", "0.0000001"),
        ("0.30000000000000004", "0.3000001"),
        ("-0.5", "-0.1999999"),
        ("+2E+2", "199.8000001"),
        ("0.0000000000005", "199.8000001"),
        ("0.0000000000015", "199.800000100002"),
        ("1e12", "1000000000199.800000100002"),
        ("-1e12", "199.800000100002"),
    ] {
        assert_eq!(sum(spend), total, "after {spend}");
    }
    for spend in ["1e13", "-1000000000000.01"] {
        let error = format!("ERR invalid decimal '{spend}': beyond 1000000000000 either way");
        assert_error(&server.line(&format!("RL.RECORD k OK SPEND {spend}")), &error);
    }
    // Refused, nothing of the record counts.
    assert_eq!(stats(&server, "k").field("total").field("ok"), Reply::Int(8));
}

/// What is used is what was granted, corrected by what became of it, each in its hour.
#[test]
fn used_is_corrected_by_every_settlement() {
    let server = Server::durable();
    let replica = server.replica();
    server.clock_set(START);
    let used = |node: &Server, key: &str| stats(node, key).field("total").field("used").int();
    let total = |key: &str| numbers(&stats(&server, key).field("total"), &["granted", "used"]);
    server.ok("RL.RECORD k OK");
    server.ok("RL.RECORD o OK");
    for (command, reply) in [
        ("RL.RESERVE 2 k 100/d,concurrent:9 o 100/d COST 2 TTL 1m ID a", None),
        ("RL.COMMIT a 2 k o COST 7", Some(1)),
        ("RL.RESERVE 1 k 100/d COST 10 TTL 1m ID b", None),
        ("RL.RELEASE b 1 k", Some(1)),
        ("RL.RESERVE 1 k 100/d COST 10 TTL 1m ID c", None),
        ("RL.COMMIT c 1 k", Some(1)),
        ("RL.COMMIT c 1 k COST 50", Some(0)),
        ("RL.REFUND k 4", Some(4)),
        ("RL.REFUND k 100", Some(13)),
    ] {
        let answer = server.line(command);
        if let Some(reply) = reply {
            assert_eq!(answer, Reply::Int(reply), "{command}");
        }
    }
    assert_eq!((total("k"), total("o")), (vec![22, 0], vec![2, 7]));
    // Late, in another hour: that hour is negative.
    server.line("RL.RESERVE 1 k 100/d COST 10 TTL 1m ID late");
    server.clock_advance(2 * HOUR);
    assert_eq!(server.line("RL.COMMIT late 1 k COST 3"), Reply::Int(2));
    let hours = stats(&server, "k").field("hours");
    assert_eq!(hours.pairs().len(), 2, "an hour in which nothing happened is left out");
    assert_eq!(hours.field("2026-11-20T15").field("used"), Reply::Int(10));
    assert_eq!(numbers(&hours.field("2026-11-20T17"), &["granted", "used"]), [0, -7]);
    assert_eq!(used(&server, "k"), 3);
    let shown = &server.line("RL.USAGE 0 COUNT 1000")[1];
    assert_eq!(shown.field("k").field("used"), Reply::Int(3));
    // Replicas, dumps and the AOF say the same. What is not tracked is not corrected.
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    replica.clock_set(START + 2 * HOUR);
    assert_eq!(used(&replica, "k"), 3);
    let payload = server.line("DUMP k");
    call!(server, "RESTORE", "copy", 0, payload.bytes());
    assert_eq!(used(&server, "copy"), 3);
    server.line("RL.RESERVE 1 free 100/d TTL 1m ID x");
    server.line("RL.COMMIT x 1 free COST 5");
    assert!(stats(&server, "free").is_nil());
}

/// What a refund took of a reservation is taken off once: the settlement does not take it off again.
#[test]
fn a_refund_and_a_settlement_correct_used_once() {
    const LIMITS: [&str; 3] = ["20/h", "bucket:20/h", "20/h,100/d"];
    for (limits, name) in LIMITS.into_iter().zip(["k", "l", "m"]) {
        let server = Server::start();
        server.clock_set(START);
        let used = || stats(&server, name).field("total").field("used").int();
        let counted = || server.line(&format!("RL.QUOTA {name}"))[0].field("used").int();
        server.ok(&format!("RL.RECORD {name} OK"));
        let reserve = |id: &str, cost: i64| {
            server.line(&format!("RL.RESERVE 1 {name} {limits} COST {cost} TTL 1h ID {id}"));
        };
        let ends = |command: String, is: i64| {
            server.line(&command);
            assert_eq!((used(), counted()), (is, is), "{limits}: after {command}");
        };
        reserve("a", 5);
        ends(format!("RL.REFUND {name} 5"), 0);
        ends(format!("RL.RELEASE a 1 {name}"), 0);
        ends(format!("RL.ACQUIRE {name} {limits} COST 5"), 5);
        // Beside what others use.
        reserve("b", 5);
        ends(format!("RL.REFUND {name} 3"), 7);
        ends(format!("RL.RELEASE b 1 {name}"), 5);
        // The refund took four of five, and one of them is left to be given back.
        reserve("c", 5);
        ends(format!("RL.REFUND {name} 4"), 6);
        ends(format!("RL.COMMIT c 1 {name} COST 3"), 5);
        // A refund of the newest units of two.
        reserve("d", 2);
        reserve("e", 2);
        ends(format!("RL.REFUND {name} 3"), 6);
        ends(format!("RL.RELEASE e 1 {name}"), 6);
        ends(format!("RL.RELEASE d 1 {name}"), 5);
        reserve("f", 4);
        ends(format!("RL.REFUND {name} 4"), 5);
        ends(format!("RL.COMMIT f 1 {name} COST 6"), 7);
    }
}

/// No limit tells whose units a refund takes of calls, or of no limit at all; the total does not fall
/// below 0, and so hides no later use.
#[test]
fn used_of_all_does_not_fall_below_0() {
    let server = Server::start();
    server.clock_set(START);
    for limits in ["unlimited", "20/h:per=call", "concurrent:9"] {
        server.line("DEL k");
        server.ok("RL.RECORD k OK");
        let used = || stats(&server, "k").field("total").field("used").int();
        server.line(&format!("RL.RESERVE 1 k {limits} COST 5 TTL 1h ID a"));
        server.line("RL.REFUND k 5");
        server.line("RL.RELEASE a 1 k");
        assert_eq!(used(), 0, "{limits}");
        server.line(&format!("RL.RESERVE 1 k {limits} COST 5 TTL 1h ID b"));
        assert_eq!(used(), 5, "{limits}");
    }
}

/// A day is counted by plain additions.
#[derive(Default, Clone)]
struct Plain {
    requests: i64,
    granted: i64,
    denied: i64,
    ok: i64,
    fail: i64,
    cached: i64,
    thousandths: i64,
}

/// Forty days through the debug clock, with gaps, a restart and a failover,
/// compared hour by hour and day by day with a plain model.
#[test]
fn forty_days_equal_a_plain_model() {
    let mut server = Server::durable();
    let replica = server.replica();
    let mut days: BTreeMap<i64, Plain> = BTreeMap::new();
    let mut hours: BTreeMap<i64, Plain> = BTreeMap::new();
    let mut total = Plain::default();
    let mut now = START;
    let mut dice = Dice::new(1);
    for day in 0..40 {
        // Some days nothing happens.
        if day % 7 == 5 {
            now += DAY;
            continue;
        }
        let end = now + DAY;
        while now < end {
            server.clock_set(now);
            let (cost, spend) = (1 + dice.below(4), dice.below(5000));
            let granted = server.line(&format!("RL.ACQUIRE k 40/d TRACK COST {cost}")).rate_limit().granted;
            let (ok, cached) = (dice.below(4) > 0, dice.below(3) == 0);
            let how = format!("{} {}", if ok { "OK" } else { "FAIL" }, if cached { "CACHED" } else { "" });
            server.ok(&format!("RL.RECORD k {how} SPEND {}.{:03}", spend / 1000, spend % 1000));
            for plain in
                [days.entry(now / DAY).or_default(), hours.entry(now / HOUR).or_default(), &mut total]
            {
                plain.requests += 1;
                plain.granted += granted;
                plain.denied += cost - granted;
                plain.ok += i64::from(ok);
                plain.fail += i64::from(!ok);
                plain.cached += i64::from(cached);
                plain.thousandths += spend;
            }
            now += dice.below(4 * 3600) * 1_000_000;
        }
        if day == 17 {
            server.kill9();
            server.restart();
            replica.wait_link();
        }
        server.clock_set(now);
        replica.clock_set(now);
        wait_synced(&server, &replica);
        for node in [&server, &replica] {
            let shown = stats(node, "k");
            compare(&shown.field("total"), &total, "total");
            for (title, model, length, count, text) in
                [("days", &days, DAY, 30, 10_usize), ("hours", &hours, HOUR, 24, 13)]
            {
                // Those in which something happened, in order.
                let series = shown.field(title).pairs();
                let expected: Vec<_> = model.range(now / length - count + 1..).collect();
                assert_eq!(series.len(), expected.len());
                for ((name, figures), (number, model)) in series.iter().zip(expected) {
                    assert_eq!(name.text(), name_of(title, number * length)[..text]);
                    compare(figures, model, &name.text());
                }
            }
        }
    }
    assert!(total.denied > 0 && days.len() > 30);
    assert_same_data(&server, &replica);
}

/// The hour or day of a time, as RL.STATS calls it.
fn name_of(title: &str, us: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(us).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime(if title == "days" { "%Y-%m-%d" } else { "%Y-%m-%dT%H" }).to_string()
}

fn compare(figures: &Reply, plain: &Plain, what: &str) {
    let shown = numbers(figures, &["requests", "granted", "denied", "ok", "fail", "cached"]);
    let Plain { requests, granted, denied, ok, fail, cached, thousandths } = *plain;
    assert_eq!(shown, [requests, granted, denied, ok, fail, cached], "{what}");
    let spend: f64 = figures.field("spend").text().parse().unwrap();
    assert_eq!((spend * 1000.0).round() as i64, thousandths, "{what}");
}

#[test]
fn usage_is_replicated_and_persisted_and_ends_with_its_key() {
    for preamble in ["yes", "no"] {
        let mut server = Server::durable_with(&["--aof-use-rdb-preamble", preamble]);
        let replica = server.replica();
        server.line("RL.ACQUIRE k bucket:5/d TRACK COST 2");
        server.line("RL.ACQUIRE k bucket:5/d COST 9");
        server.ok("RL.RECORD k FAIL SPEND 1.5 DUR 3s");
        server.ok("RL.RECORD only OK");
        wait_synced(&server, &replica);
        assert_same_data(&server, &replica);
        // 30 days after the last use, to the second.
        let ttl = server.line("PTTL only").int();
        assert!((ttl - 30 * 86_400_000).abs() < 5_000, "{ttl}");
        let before = (snapshot(&server), stats(&server, "k"));
        for rewritten in [false, true] {
            if rewritten {
                server.rewrite_aof();
            }
            server.kill9();
            server.restart();
            assert_eq!((snapshot(&server), stats(&server, "k")), before, "{preamble} {rewritten}");
        }
        assert_eq!(server.line("DEBUG RELOAD"), Reply::ok());
        assert_eq!((snapshot(&server), stats(&server, "k")), before);
        // Valkey frees the keys of before in the background.
        crate::harness::eventually(std::time::Duration::from_secs(30), "the keys of before are gone", || {
            server.counter("tracked_keys") == 2
        });
        let payload = server.line("DUMP k");
        assert_eq!(call!(server, "RESTORE", "copy", 0, payload.bytes()), Reply::ok());
        assert_eq!(stats(&server, "copy").field("total"), stats(&server, "k").field("total"));
        server.line("DEL k copy only");
        // Some servers free what is deleted in the background.
        crate::harness::eventually(std::time::Duration::from_secs(30), "none is tracked", || {
            server.counter("tracked_keys") == 0
        });
    }
    // By the debug clock: what nobody used for 30 days is not shown, and starts anew.
    let server = Server::start();
    server.clock_set(START);
    server.ok("RL.RECORD k OK");
    server.clock_advance(30 * DAY - 1);
    assert_eq!(numbers(&stats(&server, "k").field("total"), &OUTCOMES), [1, 0, 0]);
    server.clock_advance(1);
    assert!(stats(&server, "k").is_nil());
    server.ok("RL.RECORD k FAIL");
    assert_eq!(numbers(&stats(&server, "k").field("total"), &OUTCOMES), [0, 1, 0]);
}

#[test]
fn track_max_holds_against_invented_keys() {
    let server = Server::builder()
        .module_args(["enable-debug-command", "yes", "track-usage", "yes", "track-max", "50"])
        .start();
    server.clock_set(START);
    let mut wire = server.wire();
    let calls: Vec<_> = (0..500).map(|n| format!("RL.ACQUIRE invented:{n} 1/s COST 2")).collect();
    for reply in wire.lines(&calls) {
        assert_eq!(reply[0], Reply::Int(0), "the decision is the same, tracked or not");
    }
    assert_eq!(server.line("DBSIZE"), Reply::Int(50), "a denial leaves only what is tracked");
    assert_eq!(server.counter("tracked_keys"), 50);
    assert_eq!(server.counter("track_refused"), 450);
    assert_error(
        &server.line("RL.RECORD more OK"),
        "ERR track-max keys are tracked already, raise that setting or clear some",
    );
    server.ok("RL.RECORD invented:7 OK");
    assert_eq!(server.line("RL.ACQUIRE more 1/s TRACK").rate_limit().granted, 1);
    assert!(stats(&server, "more").is_nil());
    // Room comes back when a tracked key goes.
    server.line("DEL invented:7");
    server.ok("RL.RECORD more OK");
    // RL.USAGE walks them, like SCAN.
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeMap::new());
    loop {
        let page = server.call(&["RL.USAGE", &cursor, "MATCH", "invented:*", "COUNT", "7"]);
        for (key, figures) in page[1].pairs() {
            seen.insert(key.text(), numbers(&figures, &DECIDED));
        }
        cursor = page[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 49);
    assert!(seen.values().all(|figures| *figures == [1, 0, 2, 1]));
    // What a busy key costs is bounded.
    for hour in 0..24 * 31 {
        server.clock_set(START + hour * HOUR);
        server.ok(&format!("RL.RECORD invented:1 OK DUR {}ms", 1_i64 << (hour % 34)));
    }
    let bytes = server.line("MEMORY USAGE invented:1").int();
    assert!(bytes < 8_000, "{bytes} bytes");
}

/// What programs of this kind offer, done with these commands by an ordinary
/// client.
#[test]
fn what_like_systems_offer() {
    let server = Server::start();
    server.clock_set(START);
    let mut client = server.connection();
    let mut run = |command: &str| -> redis::Value {
        let mut words = command.split_whitespace();
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut client).unwrap()
    };
    // Configure a source, check it without taking, take, and look again.
    run("RL.PIN source:mail 100/h");
    run("RL.QUOTA source:mail");
    for _ in 0..3 {
        run("RL.ACQUIRE source:mail TRACK");
    }
    run("RL.RECORD source:mail OK CACHED SPEND 0.002 DUR 12ms");
    run("RL.RECORD source:mail FAIL SPEND 0.004 DUR 250ms COUNT 2");
    run("RL.RECORD source:web OK SPEND 0.1");
    // Calls of the hour and of the day, cache hits, what it cost today.
    let mail = stats(&server, "source:mail");
    assert_eq!(mail.field("hours").field("2026-11-20T15").field("requests"), Reply::Int(3));
    assert_eq!(mail.field("days").field("2026-11-20").field("requests"), Reply::Int(3));
    assert_eq!(mail.field("today").field("cache_hit_rate"), Reply::bulk("0.333333"));
    assert_eq!(mail.field("today").field("spend"), Reply::bulk("0.006"));
    assert_eq!(mail.field("limits"), Reply::bulk("100/h"));
    // A summary over all sources.
    let page = server.line("RL.USAGE 0 MATCH source:* COUNT 1000");
    let spent: Vec<String> =
        page[1].pairs().iter().map(|(_, figures)| figures.field("spend").text()).collect();
    assert_eq!(page[1].pairs().len(), 2, "{spent:?}");
    // Tomorrow starts at zero, the history stays.
    server.clock_advance(DAY);
    let mail = stats(&server, "source:mail");
    assert_eq!(mail.field("today").field("spend"), Reply::bulk("0"));
    assert!(mail.field("today").field("p50_ms").is_nil());
    assert_eq!(mail.field("days").field("2026-11-20").field("spend"), Reply::bulk("0.006"));
    // Reset one, clear all that are not pinned.
    assert_eq!(run("RL.RESET source:mail"), redis::Value::Int(0));
    server.line("RL.ACQUIRE source:mail");
    assert_eq!(run("RL.RESET source:mail"), redis::Value::Int(1));
    assert_eq!(server.line("RL.CLEAR 0 MATCH source:* COUNT 1000")[1], Reply::Int(1));
    assert_eq!(server.line("EXISTS source:mail source:web"), Reply::Int(1));
}

/// Every node of a cluster counts the keys it serves, and shows only those.
#[test]
fn each_node_of_a_cluster_shows_its_own_keys() {
    let cluster = cluster(3, 0);
    for node in &cluster.nodes {
        node.clock_set(START);
    }
    let mut expected: Vec<BTreeMap<String, (Vec<i64>, String)>> = vec![BTreeMap::new(); 3];
    for n in 0..30 {
        let key = format!("source:{n}");
        let owner = cluster.owner_index(&key);
        let node = &cluster.nodes[owner];
        for cost in [3, 4, 2] {
            node.line(&format!("RL.ACQUIRE {key} 8/d TRACK COST {cost}"));
        }
        node.ok(&format!("RL.RECORD {key} OK CACHED SPEND 0.{n:03} DUR 20ms COUNT 2"));
        node.ok(&format!("RL.RECORD {key} FAIL"));
        let spend = format!("0.{n:03}");
        let spend = spend.trim_end_matches('0').trim_end_matches('.').to_owned();
        expected[owner].insert(key, (vec![3, 7, 2, 1, 2, 1, 2], spend));
    }
    let names: Vec<&str> = DECIDED.into_iter().chain(OUTCOMES).collect();
    let figures = |shown: &Reply| (numbers(shown, &names), shown.field("spend").text());
    for (node, expected) in cluster.nodes.iter().zip(&expected) {
        assert!(!expected.is_empty());
        for (key, wanted) in expected {
            let shown = stats(node, key);
            assert_eq!(figures(&shown.field("total")), *wanted, "{key}");
            assert_eq!(figures(&shown.field("hours").field("2026-11-20T15")), *wanted, "{key}");
        }
        let (mut cursor, mut seen) = ("0".to_owned(), BTreeMap::new());
        loop {
            let page = node.call(&["RL.USAGE", &cursor, "MATCH", "source:*", "COUNT", "5"]);
            for (key, shown) in page[1].pairs() {
                seen.insert(key.text(), figures(&shown));
            }
            cursor = page[0].text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, *expected);
        assert_eq!(node.counter("tracked_keys"), expected.len() as i64);
    }
    // Another node sends the caller on, to look and to record.
    let owner = cluster.owner_index("source:0");
    let other = &cluster.nodes[(owner + 1) % 3];
    let moved = format!("MOVED {} ", cluster.slot("source:0"));
    for command in ["RL.STATS source:0", "RL.RECORD source:0 OK", "RL.ACQUIRE source:0 8/d TRACK"] {
        assert_error_prefix(&other.line(command), &moved);
    }
    // The next day on one node, the same day on the others.
    cluster.nodes[owner].clock_advance(DAY);
    let today: BTreeSet<i64> = expected
        .iter()
        .zip(&cluster.nodes)
        .map(|(keys, node)| stats(node, keys.keys().next().unwrap()).field("today").field("requests").int())
        .collect();
    assert_eq!(today, BTreeSet::from([0, 3]));
}

/// The limits are those that RL.QUOTA shows: what the key had by its last grant, however it would be
/// decided now.
#[test]
fn the_limits_are_those_of_the_last_grant() {
    let server = Server::start();
    server.clock_set(START);
    server.ok("RL.POLICY SET prefix 1/h PREFIX policy");
    for key in ["policy", "default"] {
        server.line(&format!("RL.ACQUIRE {key} 70/2s TRACK"));
    }
    server.line("RL.ACQUIRE policy-alone TRACK");
    server.ok("RL.RECORD no-limits OK");
    server.ok("RL.RECORD pinned OK");
    server.ok("RL.PIN pinned 5/m");
    if server.at_least(7, 0) {
        server.config_set("floodgate.default-limit", "5/s");
    }
    let limits = |key: &str| stats(&server, key).field("limits");
    for (key, expected) in
        [("policy", "70/2s"), ("default", "70/2s"), ("policy-alone", "1/h"), ("pinned", "5/m")]
    {
        assert_eq!(limits(key), Reply::bulk(expected), "{key}");
    }
    if server.at_least(7, 0) {
        assert_eq!(limits("no-limits"), Reply::bulk("5/s"));
    }
}

/// Where a line stands on a tracked key, the copy on which its future is played through
/// is none.
#[test]
fn a_line_takes_no_room_of_tracked_keys() {
    let server = Server::builder().module_args(["enable-debug-command", "yes", "track-max", "2"]).start();
    server.line("RL.ACQUIRE k 5/h COST 5 TRACK");
    let _waiter = waits(&server, "RL.ACQUIRE k 5/h WAIT 30s");
    assert_eq!(server.line("RL.QUOTA k 5/h HEADERS").field("X-RateLimit-Remaining").text(), "0");
    assert_eq!(server.counter("tracked_keys"), 1);
    server.ok("RL.RECORD other OK");
}

/// A copy is one more tracked key, where there is room; replicas and the AOF have the
/// same, whatever their own settings say.
#[test]
fn a_copy_is_tracked_where_there_is_room() {
    let mut server = Server::builder()
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .module_args(["enable-debug-command", "yes", "track-max", "2"])
        .start();
    let replica = server.replica();
    let roomy = Server::start();
    roomy.follow(&server);
    let tracked = |node: &Server| node.counter("tracked_keys");
    server.line("RL.ACQUIRE a 10/d TRACK COST 3");
    assert_eq!(server.line("COPY a b"), Reply::Int(1));
    assert_eq!(stats(&server, "b").field("total"), stats(&server, "a").field("total"));
    assert_eq!(tracked(&server), 2);
    // No room: the copy has the usage of its limits, and no history.
    assert_eq!(server.line("COPY a c DB 3"), Reply::Int(1));
    assert_eq!(server.line("COPY a c"), Reply::Int(1));
    assert_eq!(tracked(&server), 2);
    assert!(stats(&server, "c").is_nil());
    assert_eq!(server.line("RL.ACQUIRE c 10/d").rate_limit().remaining, 6);
    // Another copy takes its place and its room.
    server.line("DEL b");
    assert_eq!(server.line("COPY a c REPLACE"), Reply::Int(1));
    assert_eq!(tracked(&server), 2);
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
    crate::harness::eventually(std::time::Duration::from_secs(30), "told what the copies are", || {
        wait_synced(&server, &roomy);
        snapshot(&server) == snapshot(&roomy)
    });
    assert_eq!((tracked(&replica), tracked(&roomy)), (2, 2));
    assert_survives_kill(&mut server, None);
}

/// A refund takes its number of units off `used`, whatever of them the limits still know.
#[test]
fn a_refund_takes_its_units_off_used() {
    let server = Server::durable();
    let replica = server.replica();
    server.clock_set(START);
    for (name, commands, expected) in [
        ("calls", &["RL.ACQUIRE calls 100/m:per=call COST 4 TRACK", "RL.REFUND calls 4"][..], 0),
        ("beside", &["RL.ACQUIRE beside 100/m:per=call,100/h COST 4 TRACK", "RL.REFUND beside 3"], 1),
        // The debt that is kept is less than what was charged.
        ("debt", &["RL.CHARGE debt 10/s COST 1000 TRACK", "RL.REFUND debt 1000"], 0),
        ("free", &["RL.ACQUIRE free unlimited COST 7 TRACK", "RL.REFUND free 5"], 2),
        (
            "left",
            &["RL.ACQUIRE left 10/s COST 7 TRACK", "RL.DEBUG CLOCK ADVANCE 2000000", "RL.REFUND left 5"],
            2,
        ),
        // Never more than was used.
        ("twice", &["RL.ACQUIRE twice 10/m COST 4 TRACK", "RL.REFUND twice 3", "RL.REFUND twice 3"], 0),
        ("much", &["RL.ACQUIRE much 10/m COST 4 TRACK", "RL.REFUND much 1000000000000"], 0),
    ] {
        for command in commands {
            assert!(server.line(command).error().is_none(), "{command}");
        }
        let total = stats(&server, name).field("total").field("used").int();
        assert_eq!(total, expected, "{commands:?}");
    }
    assert_eq!(server.line("RL.REFUND much 1"), Reply::Int(0));
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}
